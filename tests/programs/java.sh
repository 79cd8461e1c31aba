# java: a threaded program, run from source.
. /opt/programs/files/common.sh
need java
expect java "$(java -Xmx256m /opt/programs/files/Threads.java)" ok
