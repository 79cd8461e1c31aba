# node: the event loop and worker threads.
. /opt/programs/files/common.sh
need node
expect node "$(node /opt/programs/files/events.js)" ok
