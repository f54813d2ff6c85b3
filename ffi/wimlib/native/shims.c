/*
 * What libwim.a needs beside libc to become a shared object that loads everywhere Bun does (glibc 2.17 and later).
 * Three groups: the parts of libwim that are left out, the data of libc, and the libc calls whose default version is
 * newer than that. `build` renames the calls that would otherwise bind to libc directly to shim_<name>.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

/*
 * Left out: NTFS volumes (libntfs-3g) and FUSE mounts. libwim asks for them only by flags that we never pass
 * (WIMLIB_ADD_FLAG_NTFS, WIMLIB_EXTRACT_FLAG_NTFS); were one passed, capture answers WIMLIB_ERR_UNSUPPORTED.
 */
enum { WIMLIB_ERR_UNSUPPORTED = 68 };
const void *ntfs_3g_apply_ops[64];
int ntfs_3g_build_dentry_tree(void) { return WIMLIB_ERR_UNSUPPORTED; }
int read_ntfs_attribute_prefix(void) { return WIMLIB_ERR_UNSUPPORTED; }
void *clone_ntfs_location(void) { return NULL; }
int cmp_ntfs_locations(void) { return 0; }
void free_ntfs_location(void) {}

/*
 * The archive is compiled for executables (PIE), which address libc's streams directly; a shared object cannot. It
 * gets variables of its own, filled before anybody calls in.
 */
FILE *shim_stdin, *shim_stdout, *shim_stderr;
__attribute__((constructor)) static void take_streams(void)
{
	shim_stdin = stdin;
	shim_stdout = stdout;
	shim_stderr = stderr;
}

/* glibc 2.38 gave these new names for C23's binary literals, which no WIM has. */
long __isoc23_strtol(const char *s, char **end, int base) { return strtol(s, end, base); }
unsigned long __isoc23_strtoul(const char *s, char **end, int base) { return strtoul(s, end, base); }
unsigned long long __isoc23_strtoull(const char *s, char **end, int base) { return strtoull(s, end, base); }
int __isoc23_sscanf(const char *s, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int n = vsscanf(s, format, args);
	va_end(args);
	return n;
}

/* Before glibc 2.33 the stat family was inline over these. The first argument is the ABI's struct version. */
#ifdef __x86_64__
enum { STAT_VERSION = 1 };
#define OLDEST "GLIBC_2.2.5"
#else
enum { STAT_VERSION = 0 };
#define OLDEST "GLIBC_2.17"
#endif
extern int __fxstat64(int, int, struct stat64 *);
extern int __xstat64(int, const char *, struct stat64 *);
extern int __lxstat64(int, const char *, struct stat64 *);
extern int __fxstatat64(int, int, const char *, struct stat64 *, int);
extern int __xmknod(int, const char *, mode_t, dev_t *);
int shim_fstat64(int fd, struct stat64 *out) { return __fxstat64(STAT_VERSION, fd, out); }
int shim_stat64(const char *path, struct stat64 *out) { return __xstat64(STAT_VERSION, path, out); }
int shim_lstat64(const char *path, struct stat64 *out) { return __lxstat64(STAT_VERSION, path, out); }
int shim_fstatat64(int dir, const char *path, struct stat64 *out, int flags)
{
	return __fxstatat64(STAT_VERSION, dir, path, out, flags);
}
int shim_mknod(const char *path, mode_t mode, dev_t dev) { return __xmknod(0, path, mode, &dev); }

/* These got a new default version (threads in 2.34, glob in 2.27) with the same arguments. */
__asm__(".symver old_pthread_create, pthread_create@" OLDEST);
__asm__(".symver old_pthread_join, pthread_join@" OLDEST);
__asm__(".symver old_glob64, glob64@" OLDEST);
typedef int glob_error(const char *, int);
extern int old_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
extern int old_pthread_join(pthread_t, void **);
extern int old_glob64(const char *, int, glob_error *, void *);
int shim_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
	return old_pthread_create(thread, attributes, start, argument);
}
int shim_pthread_join(pthread_t thread, void **result) { return old_pthread_join(thread, result); }
int shim_glob64(const char *pattern, int flags, glob_error *on_error, void *out)
{
	return old_glob64(pattern, flags, on_error, out);
}
