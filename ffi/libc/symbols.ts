/**
 * The C library, one line per call, in the header's own words. Flags and struct layouts are those of Linux on
 * 64-bit machines (x86-64 and arm64 agree on every one used here, checked in test/contract/libc.test.ts).
 */
import { dlopen, FFIType, type Pointer, read } from 'bun:ffi'

const { i32, u32, ptr, cstring, u64_fast: size_t, i64_fast: ssize_t } = FFIType
const off_t = FFIType.i64_fast
const fd = i32

export const { symbols: c } = dlopen('libc.so.6', {
  __errno_location: { args: [], returns: ptr },
  // memory: mmap(2), memfd_create(2), free(3)
  mmap: { args: [ptr, size_t, i32, i32, fd, off_t], returns: FFIType.i64_fast },
  munmap: { args: [FFIType.i64_fast, size_t], returns: i32 },
  memfd_create: { args: [cstring, u32], returns: fd },
  free: { args: [ptr], returns: FFIType.void },
  // files: preadv2(2), copy_file_range(2), fallocate(2), syncfs(2)
  preadv2: { args: [fd, ptr, i32, off_t, i32], returns: ssize_t },
  pwritev: { args: [fd, ptr, i32, off_t], returns: ssize_t },
  copy_file_range: { args: [fd, ptr, fd, ptr, size_t, u32], returns: ssize_t },
  sync_file_range: { args: [fd, off_t, off_t, u32], returns: i32 },
  flock: { args: [fd, i32], returns: i32 },
  // sockets: socket(2), sendmsg(2), sendmmsg(2), recvmmsg(2), ppoll(2), if_nametoindex(3)
  socket: { args: [i32, i32, i32], returns: fd },
  bind: { args: [fd, ptr, u32], returns: i32 },
  connect: { args: [fd, ptr, u32], returns: i32 },
  setsockopt: { args: [fd, i32, i32, ptr, u32], returns: i32 },
  getsockopt: { args: [fd, i32, i32, ptr, ptr], returns: i32 },
  getsockname: { args: [fd, ptr, ptr], returns: i32 },
  sendto: { args: [fd, ptr, size_t, i32, ptr, u32], returns: ssize_t },
  sendmsg: { args: [fd, ptr, i32], returns: ssize_t },
  sendmmsg: { args: [fd, ptr, u32, i32], returns: i32 },
  recvmsg: { args: [fd, ptr, i32], returns: ssize_t },
  recvmmsg: { args: [fd, ptr, u32, i32, ptr], returns: i32 },
  ppoll: { args: [ptr, size_t, ptr, ptr], returns: i32 },
  if_nametoindex: { args: [cstring], returns: u32 },
  close: { args: [fd], returns: i32 },
  // processes: prctl(2), getuid(2)
  prctl: { args: [i32, size_t, size_t, size_t, size_t], returns: i32 },
})

/** The calling thread's errno. Read it before anything else runs: measured safe directly after a call. */
export function errno(): number {
  return read.i32(c.__errno_location() as Pointer, 0)
}
