# shellcheck shell=bash disable=SC2154
# A client of containerd's CRI plugin, as far as one pod with one container needs it: gRPC by
# curl. Read by guest.sh, which has the variables. Field numbers are those of `runtime.v1` in
# Kubernetes' `api.proto`.

cri_socket=/run/containerd/containerd.sock
# The CRI plugin sees the images and containers of this namespace.
kubernetes=k8s.io

# ---- protobuf, as hexadecimal digits ----

# A number below 16384.
varint() { # N
    if [ "$1" -lt 128 ]; then
        printf %02x "$1"
    else
        printf %02x%02x $(($1 % 128 + 128)) $(($1 / 128))
    fi
}

number_field() { # FIELD N
    varint $(($1 * 8))
    varint "$2"
}

message_field() { # FIELD HEX
    varint $(($1 * 8 + 2))
    varint $((${#2} / 2))
    printf %s "$2"
}

text_field() { # FIELD TEXT
    message_field "$1" "$(printf %s "$2" | od -An -v -tx1 | tr -d ' \n')"
}

# ---- gRPC ----

# cri_call SERVICE/METHOD HEX: leaves the answer in $state/answer.
cri_call() {
    local frame
    # A frame begins with "not compressed" and the length of the message.
    frame=$(printf '00%08x%s' $((${#2} / 2)) "$2" | sed 's/../\\x&/g')
    # shellcheck disable=SC2059  # it holds escapes only
    printf "$frame" >"$state/request"
    curl --silent --show-error --max-time 120 --http2-prior-knowledge \
        --unix-socket "$cri_socket" --header 'content-type: application/grpc' \
        --header 'te: trailers' --data-binary "@$state/request" --output "$state/answer" \
        --dump-header "$state/headers" "http://localhost/runtime.v1.$1" || return
    grep -qi '^grpc-status: 0' "$state/headers" || { grep -i '^grpc-' "$state/headers"; return 1; }
}

# The id of what the last call made.
made_id() { grep -ao '[0-9a-f]\{64\}' "$state/answer"; }

# ---- pods ----

# A pod in the network of the node: there is no CNI plugin.
pod_config() { # NAME
    local namespaces metadata
    namespaces=$(number_field 1 2; number_field 2 1)
    metadata=$(text_field 1 "$1"; text_field 2 "uid-$1"; text_field 3 default)
    message_field 1 "$metadata"
    message_field 8 "$(text_field 1 "$cgroup_parent"
        message_field 2 "$(message_field 1 "$namespaces")")"
}

# start_pod NAME HANDLER N: a pod with a container that has the device N, or none if N is
# empty. Leaves their ids in $pod_id and $container_id.
start_pod() {
    local config annotation=''
    config=$(pod_config "$1")
    pod_id='' container_id=''
    cri_call RuntimeService/RunPodSandbox \
        "$(message_field 1 "$config"; text_field 2 "$2")" || return
    pod_id=$(made_id) || return
    [ -z "$3" ] || annotation=$(text_field 1 gpulease/devices; text_field 2 "$3")
    cri_call RuntimeService/CreateContainer "$(
        text_field 1 "$pod_id"
        message_field 2 "$(
            message_field 1 "$(text_field 1 main)"
            message_field 2 "$(text_field 1 "$image")"
            text_field 3 /bin/container.sh
            [ -z "$annotation" ] || message_field 10 "$annotation"
            # A PID namespace of its own.
            message_field 15 "$(message_field 2 "$(message_field 3 "$(number_field 2 1)")")"
        )"
        message_field 3 "$config"
    )" || return
    container_id=$(made_id) || return
    cri_call RuntimeService/StartContainer "$(text_field 1 "$container_id")"
}

# Stops and removes the pod of start_pod, with its container.
remove_pod() {
    cri_call RuntimeService/StopPodSandbox "$(text_field 1 "$pod_id")" &&
        cri_call RuntimeService/RemovePodSandbox "$(text_field 1 "$pod_id")"
}

# The init of a container of the CRI plugin.
task_pid() { # ID
    ctr --namespace "$kubernetes" tasks ls | awk -v id="$1" '$1 == id { print $2 }'
}

cri_has_images() {
    cri_call ImageService/ListImages '' && grep -aq pause "$state/answer" &&
        grep -aq "$image" "$state/answer"
}
