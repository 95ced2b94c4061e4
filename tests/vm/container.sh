#!/bin/sh
# What the containers of the test run. On SIGUSR1 one tries, by itself and without
# the help of its engine, what it is asked in /tmp/ask: the node of its own device,
# that of another's, and the other's major and minor number. Ends when told to.

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
