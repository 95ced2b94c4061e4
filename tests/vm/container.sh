#!/bin/sh
# The program of the test's containers. On SIGUSR1 it reads /tmp/ask: the node of its
# own device, the node of another device, and that one's major and minor number. It
# tries to open them, without help from its engine, and writes /tmp/answer. On SIGTERM
# it ends.

probe() {
    read -r own other major minor </tmp/ask
    {
        (exec 3<>"$own") && echo "own: opened"
        [ -e "$other" ] || echo "other: not there"
        mknod /tmp/other c "$major" "$minor" && echo "other: made"
        (exec 3<>/tmp/other) && echo "other: opened"
        rm -f /tmp/other
    } >/tmp/answer.new 2>&1
    mv /tmp/answer.new /tmp/answer
}

trap 'exit 0' TERM
trap probe USR1
: >/tmp/ready
while :; do
    sleep 3600 &
    wait
done
