fuzz_target(scatter DEPS usb/format)
fuzz_target(gpt DEPS usb/format)
fuzz_target(sparse DEPS usb/format)
fuzz_target(da_file DEPS usb/format)
fuzz_target(lk DEPS usb/format)
fuzz_target(emi DEPS usb/format)
fuzz_target(dump DEPS usb/format)
# The window of an .xz or .7z is what its head says, up to 4 GiB, and is not ours to choose: the worker's
# memory limit holds there (libarchive then says "no memory").
fuzz_target(unpack DEPS usb/archive OPTIONS -malloc_limit_mb=4200)
