//! Real containers by real runc and crun, on cgroup v1 and v2: what is leased can be opened from
//! inside, what is not cannot, and no way of ending a container keeps its devices.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

#[path = "bundles/lab.rs"]
mod lab;

#[path = "bundles/access.rs"]
mod access;
#[path = "bundles/amd.rs"]
mod amd;
#[path = "bundles/caller.rs"]
mod caller;
#[path = "bundles/cdi.rs"]
mod cdi;
#[path = "bundles/chain.rs"]
mod chain;
#[path = "bundles/life.rs"]
mod life;
#[path = "bundles/lock.rs"]
mod lock;
#[path = "bundles/lowlevel.rs"]
mod lowlevel;
#[path = "bundles/mig.rs"]
mod mig;
#[path = "bundles/nested.rs"]
mod nested;
#[path = "bundles/opened.rs"]
mod opened;
#[path = "bundles/shapes.rs"]
mod shapes;
#[path = "bundles/share.rs"]
mod share;
#[path = "bundles/spellings.rs"]
mod spellings;
#[path = "bundles/untouched.rs"]
mod untouched;
#[path = "bundles/userns.rs"]
mod userns;

use lab::{Place, everywhere};

everywhere! {
    access::only_granted_nodes_can_be_opened,
    access::simulated_nodes_are_there_and_lead_nowhere,
    access::a_bundle_run_twice_has_only_the_second_grant,
    access::exec_sees_the_lease,
    access::a_privileged_container_has_no_node_of_other_devices,
    access::an_injected_device_is_leased_as_it_stands,
    access::what_was_injected_beside_a_grant_is_taken_out,
    access::a_group_that_owns_the_node_is_enough,
    amd::a_partition_is_leased_with_its_node_and_kfd_alone,
    caller::a_process_file_stays_as_it_was,
    caller::a_configuration_stays_as_it_was,
    caller::every_spelling_finds_the_request,
    caller::every_spelling_finds_the_process,
    caller::preserved_descriptors_are_the_callers,
    cdi::what_the_specs_say_comes_with_the_granted_device,
    life::a_lease_hangs_on_the_containers_init,
    life::the_end_of_a_foreground_run_releases,
    life::a_killed_container_needs_no_delete,
    life::a_runtime_killed_while_it_creates_leaks_nothing,
    life::a_start_that_fails_leaves_no_lease,
    life::a_create_under_a_live_id_does_not_touch_its_lease,
    lock::a_container_that_sits_on_the_lock_is_named,
    lowlevel::a_container_stays_with_the_runtime_that_made_it,
    mig::instances_of_a_gpu_go_to_different_containers,
    mig::an_injected_gpu_in_mig_mode_excludes_its_instances,
    opened::a_rule_that_opens_a_device_is_a_lease,
    opened::a_mount_that_no_rule_closes_is_a_lease,
    opened::a_rule_that_opens_others_too_stops_a_request,
    opened::a_known_device_is_refused_without_an_inventory,
    opened::rules_of_engines_need_nothing_of_gpulease,
    mig::whoever_is_not_confined_is_not_kept_apart,
    nested::the_host_frees_what_a_dead_engine_held,
    nested::a_nested_engine_keeps_what_the_host_holds,
    shapes::nerdctls_hooks_stay_and_come_before_ours,
    shapes::of_crios_pod_only_the_container_that_asks_gets_one,
    share::clients_of_one_gpu_have_one_daemon_and_each_its_limits,
    share::from_a_container_a_daemon_is_reached_and_not_harmed,
    share::an_idle_daemon_makes_way_and_one_that_is_kept_does_not,
    share::a_start_whose_daemon_fails_leaves_nothing,
    share::a_foreign_daemon_serves_who_has_the_hosts_shm,
    share::both_errors_of_a_failed_start_are_told,
    share::a_hook_that_fails_leaves_no_daemon,
    share::a_shim_killed_after_its_daemon_came_leaves_none_to_the_next,
    share::masks_of_compute_units_do_not_overlap,
    spellings::no_spelling_opens_what_another_one_holds,
    untouched::a_container_without_request_is_as_it_was,
    untouched::a_broken_gpulease_stops_only_who_asks,
    userns::a_host_group_is_only_given_where_it_is_mapped,
    userns::an_adopted_node_must_have_the_hosts_number,
}

// The vendors' runtimes stand for runc to whoever reads a container's state.
everywhere!(@ chain_v1 "runc" "v1": chain::the_vendors_runtime_is_told_the_lease, chain::a_container_without_a_lease_gets_no_gpu, chain::a_rule_is_for_a_gpu_over_a_vendors_runtime_too,);
everywhere!(@ chain_v2 "runc" "v2": chain::the_vendors_runtime_is_told_the_lease, chain::a_container_without_a_lease_gets_no_gpu, chain::a_rule_is_for_a_gpu_over_a_vendors_runtime_too,);
