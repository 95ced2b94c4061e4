// SPDX-License-Identifier: GPL-2.0
/*
 * Stands for a GPU's driver. It registers regions of device memory with the dmem
 * controller. Its node charges memory to the cgroup of a process, as an allocation
 * on a GPU does.
 *
 *   insmod vram.ko size=BYTES regions=NAME,NAME...
 *
 * A write of "N BYTES" to /dev/vram-test charges BYTES of the Nth region to the
 * writer's cgroup. Over a limit it fails with EAGAIN. Closing the file gives its
 * charges back.
 */
#include <linux/cgroup_dmem.h>
#include <linux/fs.h>
#include <linux/list.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#define MOST 8

static char *regions[MOST];
static int count;
static unsigned long long size;
static struct dmem_cgroup_region *registered[MOST];
module_param_array(regions, charp, &count, 0444);
module_param(size, ullong, 0444);
static DEFINE_MUTEX(lock); /* protects the charges of all files */

struct charge {
	struct list_head others;
	struct dmem_cgroup_pool_state *pool;
	u64 bytes;
};

static int open(struct inode *inode, struct file *file)
{
	struct list_head *charges = kmalloc(sizeof(*charges), GFP_KERNEL);

	if (!charges)
		return -ENOMEM;
	INIT_LIST_HEAD(charges);
	file->private_data = charges;
	return 0;
}

static ssize_t write(struct file *file, const char __user *text, size_t length, loff_t *at)
{
	struct charge *charge;
	char line[48] = "";
	int n, err = -EINVAL;

	if (length >= sizeof(line))
		return -EINVAL;
	if (copy_from_user(line, text, length))
		return -EFAULT;
	charge = kzalloc(sizeof(*charge), GFP_KERNEL);
	if (!charge)
		return -ENOMEM;
	if (sscanf(line, "%d %llu", &n, &charge->bytes) == 2 && n >= 0 && n < count)
		err = dmem_cgroup_try_charge(registered[n], charge->bytes, &charge->pool, NULL);
	if (err) {
		kfree(charge);
		return err;
	}
	mutex_lock(&lock);
	list_add(&charge->others, file->private_data);
	mutex_unlock(&lock);
	return length;
}

static int release(struct inode *inode, struct file *file)
{
	struct charge *charge, *next;

	list_for_each_entry_safe(charge, next, (struct list_head *)file->private_data, others) {
		dmem_cgroup_uncharge(charge->pool, charge->bytes);
		kfree(charge);
	}
	kfree(file->private_data);
	return 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE, .open = open, .write = write, .release = release,
};
static struct miscdevice node = {
	.minor = MISC_DYNAMIC_MINOR, .name = "vram-test", .fops = &operations, .mode = 0666,
};

static void unregister(int n)
{
	while (n > 0)
		dmem_cgroup_unregister_region(registered[--n]);
}

static int __init begin(void)
{
	struct dmem_cgroup_init init = { .size = size };
	int n, err = -EINVAL;

	for (n = 0; n < count; n++) {
		registered[n] = dmem_cgroup_register_region(&init, "%s", regions[n]);
		if (IS_ERR_OR_NULL(registered[n]))
			break;
	}
	if (n == count)
		err = misc_register(&node);
	if (err)
		unregister(n);
	return err;
}

static void __exit end(void)
{
	misc_deregister(&node);
	unregister(count);
}

module_init(begin);
module_exit(end);
MODULE_DESCRIPTION("Device memory of a GPU that is not there");
MODULE_LICENSE("GPL");
