# apt and dpkg: an archive in a directory, packages with maintainer scripts, upgrade, removal.
. /opt/programs/files/common.sh
need dpkg-deb apt-get
make_deb() { # NAME VERSION [DEPENDS]
    mkdir -p "b/$1/DEBIAN" "b/$1/usr/share/$1"
    printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: a <a@example.com>\nDescription: test\n%s' "$1" "$2" "${3:+Depends: $3
}" >"b/$1/DEBIAN/control"
    printf '#!/bin/sh\nset -e\necho "$1" >>/usr/share/%s/log\n' "$1" >"b/$1/DEBIAN/postinst" && chmod 755 "b/$1/DEBIAN/postinst"
    echo "$2" >"b/$1/usr/share/$1/version"
    dpkg-deb --root-owner-group -b "b/$1" "archive/$1_$2_all.deb" >/dev/null
}
index() {
    (cd archive && : >Packages && for d in *.deb; do
        dpkg-deb -f "$d" && printf 'Filename: ./%s\nSize: %s\nSHA256: %s\n\n' "$d" "$(stat -c %s "$d")" "$(sha256sum "$d" | cut -d' ' -f1)"
    done >>Packages)
    apt-get -qq update
}
mkdir archive
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
chmod 755 . archive
echo "deb [trusted=yes] file:/tmp/archive ./" >/etc/apt/sources.list
make_deb lib-test 1.0 && make_deb app-test 1.0 lib-test && index
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq app-test >/dev/null 2>&1
expect installed "$(dpkg-query -W -f '${Version} ' app-test lib-test)" "1.0 1.0 "
expect postinst "$(cat /usr/share/lib-test/log)" configure
make_deb lib-test 2.0 && index
DEBIAN_FRONTEND=noninteractive apt-get upgrade -y -qq >/dev/null 2>&1
expect upgraded "$(cat /usr/share/lib-test/version)" 2.0
DEBIAN_FRONTEND=noninteractive apt-get purge -y -qq lib-test >/dev/null 2>&1
! dpkg-query -W app-test 2>/dev/null | grep -q .
dpkg --audit && dpkg --verify libc6
