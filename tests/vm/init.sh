#!/bin/sh
# First process of the guest, from the initramfs: loads the modules, makes this machine's root file system
# (9p, read-only) the lower half of an overlay, and goes on in it with stage2.sh.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev

while read -r module; do
    insmod "/modules/$module" || echo "init: $module failed" >/dev/ttyS0
done </modules/order
# A device that does not answer costs 84 s at the default of 5000 ms.
echo 500 >/sys/module/usbcore/parameters/initial_descriptor_timeout
echo -1 >/sys/module/usbcore/parameters/autosuspend

# cache=loose: nothing changes the files outside while the guest runs.
mkdir /lower /upper
mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose,noxattr root /lower
mount -t tmpfs -o mode=755,size=70% tmpfs /upper
mkdir /upper/up /upper/work
chmod 755 /upper/up
mount -t overlay -o lowerdir=/lower,upperdir=/upper/up,workdir=/upper/work root /newroot

mount -t tmpfs -o mode=755 tmpfs /newroot/run
mkdir -p /dev/shm /dev/pts
ln -s /proc/self/fd /dev/fd
for stream in 0:stdin 1:stdout 2:stderr; do ln -s "/proc/self/fd/${stream%:*}" "/dev/${stream#*:}"; done
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t debugfs debugfs /sys/kernel/debug

# The folder for results, at the path it has outside.
mkdir /out
mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,cache=none,noxattr out /out
path=$(cat /out/.guest/path)
mkdir -p "/newroot$path" && mount --move /out "/newroot$path"

for dir in proc sys dev; do mount --move "/$dir" "/newroot/$dir"; done
mkdir -p /newroot/run/lock /newroot/run/guest/bin
cp /bin/busybox /stage2.sh /newroot/run/guest/
for applet in lsmod dmesg ifconfig; do ln -s ../busybox "/newroot/run/guest/bin/$applet"; done
ifconfig lo 127.0.0.1 up
hostname guest
echo 1 >/newroot/proc/sys/kernel/printk
exec switch_root /newroot /run/guest/busybox sh /run/guest/stage2.sh "$path"
