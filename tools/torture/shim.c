/* Fails the n-th of certain calls, counted over all processes of a run.
 *
 * Preloaded into the command and what it starts. TORTURE_FLAG names a file of one page, which all of
 * them share (`struct page`): nothing is counted before the program has begun. The fault may be set
 * while it runs.
 *
 * Files below the folder TORTURE_POOR cannot be mapped into memory nor locked.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum call { OPEN, READ, WRITE, RENAME, MKDIR, UNLINK, FSYNC, MMAP, THREAD, FORK };

static struct page {
    unsigned char has_begun;
    unsigned char reserved[7];
    int32_t failing; /* enum call and 1 */
    int32_t error_number;
    int64_t is_lasting; /* all that come later fail too */
    uint64_t nth;       /* from 1 */
    uint64_t unused[4];
    uint64_t counters[16];
} volatile *page;

static const char *poor;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TORTURE_FLAG");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    void *(*real_mmap)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    poor = getenv("TORTURE_POOR");
    int fd = path ? real_open(path, O_RDWR) : -1;
    if (fd < 0)
        return;
    void *mapped = real_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped != MAP_FAILED)
        page = mapped;
}

/* Return whether this call is to fail. */
static int fails(enum call call)
{
    if (!page || page->has_begun != 1)
        return 0;
    uint64_t number = __atomic_add_fetch(&page->counters[call], 1, __ATOMIC_RELAXED);
    uint64_t nth = page->nth;
    if (page->failing != (int)call + 1 || (page->is_lasting ? number < nth : number != nth))
        return 0;
    errno = page->error_number;
    return 1;
}

/* Return whether a file can neither be mapped nor locked. */
static int is_poor(int fd, int error)
{
    char link[32], path[4096];
    if (!poor || fd < 0)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    path[n < 0 ? 0 : n] = 0;
    if (strncmp(path, poor, strlen(poor)))
        return 0;
    errno = error;
    return 1;
}

#define REAL(name) \
    static __typeof__(name) *real; \
    if (!real) \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

#define OPEN_CALL(name) \
    int name(const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return fails(OPEN) ? -1 : real(path, flags, mode); \
    }

#define OPENAT_CALL(name) \
    int name(int folder, const char *path, int flags, ...) \
    { \
        REAL(name); \
        va_list more; \
        va_start(more, flags); \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        return fails(OPEN) ? -1 : real(folder, path, flags, mode); \
    }

OPEN_CALL(open)
OPEN_CALL(open64)
OPENAT_CALL(openat)
OPENAT_CALL(openat64)

ssize_t read(int fd, void *data, size_t size)
{
    REAL(read);
    return fails(READ) ? -1 : real(fd, data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(write);
    return fails(WRITE) ? -1 : real(fd, data, size);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    return fails(RENAME) ? -1 : real(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir);
    return fails(MKDIR) ? -1 : real(path, mode);
}

int unlink(const char *path)
{
    REAL(unlink);
    return fails(UNLINK) ? -1 : real(path);
}

int fsync(int fd)
{
    REAL(fsync);
    return fails(FSYNC) ? -1 : real(fd);
}

/* Return whether a mapping is to fail. The first of a thread never is: where it fails, Python waits
 * for the thread to begin without an end (CPython's `Thread.start`). */
static int mapping_fails(void)
{
    static __thread int has_mapped;
    int is_first = !has_mapped && gettid() != getpid();
    has_mapped = 1;
    return !is_first && fails(MMAP);
}

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    REAL(mmap);
    return is_poor(fd, ENODEV) || mapping_fails() ? MAP_FAILED : real(address, size, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset)
{
    REAL(mmap64);
    return is_poor(fd, ENODEV) || mapping_fails() ? MAP_FAILED : real(address, size, protection, flags, fd, offset);
}

int flock(int fd, int operation)
{
    REAL(flock);
    return is_poor(fd, ENOSYS) ? -1 : real(fd, operation);
}

#define FCNTL_CALL(name) \
    int name(int fd, int command, ...) \
    { \
        REAL(name); \
        va_list more; \
        va_start(more, command); \
        void *argument = va_arg(more, void *); \
        va_end(more); \
        int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK; \
        return locks && is_poor(fd, ENOSYS) ? -1 : real(fd, command, argument); \
    }

FCNTL_CALL(fcntl)
FCNTL_CALL(fcntl64)

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                   void *argument)
{
    REAL(pthread_create);
    return fails(THREAD) ? EAGAIN : real(thread, attributes, run, argument);
}

pid_t fork(void)
{
    REAL(fork);
    return fails(FORK) ? -1 : real();
}

/* A function of this file must not return in the child of a vfork: it forks. */
pid_t vfork(void)
{
    return fork();
}
