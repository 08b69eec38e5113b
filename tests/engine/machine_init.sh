# The first process of a second machine of the tests: $1 its name, $2 its folder, $3 what it must not see; what follows
# are more arguments of dockerd. It ends with its standard input.
set -e
hostname "$1"
mount -t tmpfs -o mode=0755 tmpfs /run
mkdir -p /run/machine /run/sshd /etc/docker
mount --bind "$2" /run/machine
mount --bind /run/machine/etc /etc/docker
IFS=:
for place in $3; do [ ! -d "$place" ] || mount -t tmpfs -o mode=1777 tmpfs "$place"; done
unset IFS
shift 3
read -r _  # the cable is there
"$(command -v sshd)" -D -e -f /run/machine/ssh/sshd_config </dev/null &
dockerd "$@" </dev/null &
exec cat
