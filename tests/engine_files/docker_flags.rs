//! docker.service with flags, and a daemon.json that does not collide with them.

use super::lab;
use crate::support::{needs_root, ok};

/// Files of docker.service, the options of `install`, and a part of its refusal.
struct Case {
    name: &'static str,
    unit: &'static str,
    drop_in: &'static str,
    defaults: &'static str,
    daemon_json: &'static str,
    options: &'static str,
    refusal: Option<&'static str>,
    /// The flags by which dockerd is asked whether it would start.
    flags: &'static str,
}

const PLAIN: Case = Case {
    name: "plain",
    unit: "ExecStart=/usr/sbin/dockerd -H fd://",
    drop_in: "",
    defaults: "",
    daemon_json: "{\"debug\": true}",
    options: "--default-runtime",
    refusal: None,
    flags: "",
};

const CASES: &[Case] = &[
    PLAIN,
    Case {
        name: "nvidia by a drop-in",
        drop_in: "ExecStart=\nExecStart=/usr/sbin/dockerd -H fd:// --default-runtime=nvidia \
                  --add-runtime=nvidia=/usr/bin/nvidia-container-runtime",
        refusal: Some("docker.service gives the flag `--default-runtime=nvidia`"),
        ..PLAIN
    },
    Case {
        name: "runtimes by flags, no default of ours",
        drop_in: "ExecStart=\nExecStart=/usr/sbin/dockerd --default-runtime=nvidia \
                  --add-runtime=nvidia=/usr/bin/nvidia-container-runtime",
        options: "",
        flags: "--default-runtime=nvidia --add-runtime=nvidia=/usr/bin/nvidia-container-runtime",
        ..PLAIN
    },
    Case {
        name: "a default by an environment file",
        unit: "EnvironmentFile=-/etc/default/docker\nExecStart=/usr/sbin/dockerd -H fd:// $DOCKER_OPTS",
        defaults: "# Options of dockerd\nDOCKER_OPTS=\"--log-level=warn --default-runtime crun\"\n",
        refusal: Some("docker.service gives the flag `--default-runtime=crun`"),
        ..PLAIN
    },
    Case {
        name: "another file by a flag",
        unit: "ExecStart=/usr/sbin/dockerd --config-file=/srv/daemon.json",
        refusal: Some("docker.service has dockerd read `/srv/daemon.json`"),
        ..PLAIN
    },
    Case {
        name: "flags beside a file",
        unit: "ExecStart=/usr/sbin/dockerd --containerd=/run/c.sock --live-restore",
        flags: "--containerd=/run/c.sock --live-restore",
        ..PLAIN
    },
    Case {
        name: "a file that dockerd refused before",
        unit: "ExecStart=/usr/sbin/dockerd --debug",
        options: "",
        ..PLAIN
    },
];

#[test]
fn dockerd_starts_with_its_units_own_flags() {
    needs_root!();
    for case in CASES {
        let Case { name, unit, drop_in, defaults, daemon_json, options, flags, .. } = case;
        let script = format!(
            "dir=/etc/systemd/system/docker.service.d; mkdir -p $dir
            printf '%s' '[Service]\n{unit}\n' >/etc/systemd/system/docker.service
            printf '%s' '[Service]\n{drop_in}\n' >$dir/a.conf
            printf '%s' '{defaults}' >/etc/default/docker
            printf '%s' '{daemon_json}' >/etc/docker/daemon.json
            rc=0; \"$1/gpulease\" install docker {options} 2>&1 || rc=$?
            echo \"rc $rc\"; cat /etc/docker/daemon.json; echo
            dockerd --validate {flags} 2>&1"
        );
        let output = ok(lab::inside(None, &format!("mkdir -p /etc/docker /etc/default; {script}")));
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.contains("configuration OK"), "{name}: {text}");
        match case.refusal {
            Some(part) => {
                assert!(text.contains(part) && text.contains("hint: "), "{name}: {text}");
                assert!(text.contains(&format!("rc 4\n{daemon_json}\n")), "{name}: {text}");
            }
            None => {
                assert!(text.contains("rc 0\n"), "{name}: {text}");
                assert!(text.contains("\"gpulease\": {"), "{name}: {text}");
            }
        }
    }
}
