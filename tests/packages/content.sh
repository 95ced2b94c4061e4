# shellcheck shell=bash disable=SC2154
# (run.sh sets $deb, $rpm and the like)
#
# Checks the contents of the packages, with lintian, mandoc, groff and others. Sourced by run.sh.

# TYPE MODE OWNER PATH of each file and link of the deb.
deb_files() {
    dpkg-deb --fsys-tarfile "$deb" | tar --numeric-owner -tvf - |
        awk '$1 !~ /^d/ { print $1, $2, $6 }' | sed -e 's, \./, /,' -e 's, 0/0 , root/root ,' | sort -k3
}

rpm_files() {
    rpm -qp --queryformat '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILENAMES}\n]' \
        "$rpm" | awk '$1 !~ /^d/' | sort -k3
}

content() {
    local files name field scripts
    title "the contents of the deb"
    files=$(deb_files)
    for name in gpulease gpulease-runtime gpulease-hook; do
        has "/usr/bin/$name is root's" "$files" "-rwxr-xr-x root/root /usr/bin/$name"
    done
    same "all other files are root's and not executable" "" \
        "$(grep -v ' /usr/bin/' <<<"$files" | grep -v '^-rw-r--r-- root/root ' || true)"
    for name in /usr/lib/tmpfiles.d/gpulease.conf /usr/share/man/man1/gpulease.1.gz \
        /usr/share/man/man5/gpulease-config.5.gz \
        /usr/share/man/man5/gpulease-devices.5.gz /usr/share/man/man8/gpulease-runtime.8.gz \
        /usr/share/man/man8/gpulease-hook.8.gz /usr/share/zsh/vendor-completions/_gpulease \
        /usr/share/bash-completion/completions/gpulease \
        /usr/share/fish/vendor_completions.d/gpulease.fish \
        /usr/share/doc/gpulease/{README.md,changelog.gz,copyright,crates.gz} \
        /usr/share/doc/gpulease/examples/{config.toml,compose.yaml} \
        /usr/share/doc/gpulease/hooks/docker/daemon.json; do
        has "$name" "$files" " $name"
    done
    lacks "no file is below /etc, so an upgrade asks no question" "$files" " /etc/"
    has "it depends on a low-level runtime" "$(dpkg-deb -f "$deb" Depends)" "runc | crun"
    same "its version is that of Cargo.toml" "$version-1" "$(dpkg-deb -f "$deb" Version)"

    dpkg-deb -x "$deb" "$work/tree"
    for name in gpulease-runtime gpulease-hook; do
        check "$name is static" bash -c "! ldd '$work/tree/usr/bin/$name' 2>&1 | grep -q '=>'"
    done
    check "no file names /usr/local/bin/gpulease" bash -c \
        "! zgrep -l /usr/local/bin/gpulease -r '$work/tree/usr/share/man' '$work/tree/usr/share/doc/gpulease/hooks'"
    for name in "$work/tree"/usr/share/man/man*/*.gz; do
        gzip -d "$name"
        same "mandoc has no complaint about $(basename "$name" .gz)" "" \
            "$(mandoc -T lint -W warning "${name%.gz}" || true)"
        same "groff has no complaint about $(basename "$name" .gz)" "" "$(groff -man -ww -z "${name%.gz}" 2>&1 || true)"
    done
    check "systemd-tmpfiles accepts the file" tmpfiles_made

    title "lintian"
    same "lintian has no complaint" "" "$(lintian --allow-root --fail-on none "$deb" 2>&1)"

    title "the contents of the rpm"
    # zsh's directory differs between Debian and Fedora. The excluded files are Debian's own.
    same "the rpm has the files of the deb" \
        "$(grep -v -e changelog.Debian -e /lintian/ <<<"$files" | sed s,/vendor-completions/,/site-functions/, | sort -k3)" \
        "$(rpm_files)"
    check "its digests are right" rpm -K --nosignature "$rpm"
    has "it requires a low-level runtime" "$(rpm -qp --requires "$rpm")" "(runc or crun)"
    scripts=$(rpm -qp --scripts "$rpm")
    for field in "postinstall scriptlet" "preuninstall scriptlet" "postuninstall scriptlet"; do
        has "it has a $field" "$scripts" "$field"
    done
    has "the scripts are those of the deb" "$scripts" "$(tail -n +2 "$top/packaging/maintainer/prerm")"
}

tmpfiles_made() {
    mkdir -p "$work/boot/run"
    systemd-tmpfiles --root "$work/boot" --create "$work/tree/usr/lib/tmpfiles.d/gpulease.conf" &&
        [ "$(stat -c '%F %a %u:%g' "$work/boot/run/gpulease")" = "directory 755 0:0" ]
}
