# The first process of another engine for the tests: $1 its root file system, $2 the folder where it keeps its content,
# $3 folders of this machine that are at the same place there; what follows is its command. It ends with its standard
# input.
set -e
root=$1 content=$2 shared=$3
shift 3
mount --bind "$root" "$root" # pivot_root(8) wants a mount
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=0755 tmpfs "$root/run"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mkdir -p "$root/run/content"
mount --bind "$content" "$root/run/content"
IFS=:
for place in $shared; do
    mkdir -p "$root$place"
    mount --rbind "$place" "$root$place"
done
unset IFS
read -r _ # the network is there
cd "$root"
# Not chroot: what enters a container by its namespaces (docker exec) would find this machine's / there.
pivot_root . .
umount -l .
"$@" </dev/null &
exec cat
