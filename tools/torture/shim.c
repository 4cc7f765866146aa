/* Fails the n-th of certain calls, counted over all processes of a run.
 *
 * Preloaded into the command and what it starts. TORTURE_FLAG names a file of one page, which all of
 * them share: its first byte is 1 once the program has begun, and nothing is counted before; then
 * come a counter for each call, of 8 bytes, from byte 64 on. TORTURE_CALL is the number of the call
 * that fails, TORTURE_NTH which one, from 1, TORTURE_ERRNO with what; TORTURE_LASTING is 1 if all
 * that come later fail too.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum call { OPEN, READ, WRITE, RENAME, MKDIR, UNLINK, FSYNC, MMAP, THREAD, FORK };

static volatile unsigned char *page;
static int failing = -1, error_number, is_lasting;
static uint64_t nth;

static uint64_t read_number(const char *name)
{
    const char *text = getenv(name);
    return text ? strtoull(text, NULL, 10) : 0;
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("TORTURE_FLAG");
    int (*real_open)(const char *, int, ...) = dlsym(RTLD_NEXT, "open");
    void *(*real_mmap)(void *, size_t, int, int, int, off_t) = dlsym(RTLD_NEXT, "mmap");
    int fd = path ? real_open(path, O_RDWR) : -1;
    if (fd < 0)
        return;
    void *mapped = real_mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        return;
    failing = getenv("TORTURE_CALL") ? (int)read_number("TORTURE_CALL") : -1;
    nth = read_number("TORTURE_NTH");
    error_number = (int)read_number("TORTURE_ERRNO");
    is_lasting = (int)read_number("TORTURE_LASTING");
    page = mapped;
}

/* Return whether this call is to fail. */
static int fails(enum call call)
{
    if (!page || page[0] != 1)
        return 0;
    uint64_t *counter = (uint64_t *)(page + 64) + call;
    uint64_t number = __atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
    if ((int)call != failing || (is_lasting ? number < nth : number != nth))
        return 0;
    errno = error_number;
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

void *mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
    REAL(mmap);
    return fails(MMAP) ? MAP_FAILED : real(address, size, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t size, int protection, int flags, int fd, off64_t offset)
{
    REAL(mmap64);
    return fails(MMAP) ? MAP_FAILED : real(address, size, protection, flags, fd, offset);
}

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
