/* Preloaded into nginx by tests: counts allocations, has some of them fail, and sets the clock. */

#define _GNU_SOURCE

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* As in tests/inside/faults.rs, by how many seconds the wall clock is wrong, and how fast the other one goes. */
struct meter {
    uint64_t who, count, first, last;
    int64_t wrong, speed;
};

enum { NGINX = 3, MODULE = 4 };

static struct meter *meter;
static const void *program;

/* glibc's own, which need no look-up. */
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("CLERK_PROXY_METER");
    int fd = path ? open(path, O_RDWR) : -1;
    Dl_info info;

    if (fd == -1 || !dladdr((void *) getauxval(AT_ENTRY), &info)) {
        return;
    }

    program = info.dli_fbase;
    meter = mmap(NULL, sizeof(struct meter), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (meter == MAP_FAILED) {
        abort();
    }
}

static int fails(const void *caller)
{
    uint64_t number, who = 0;
    Dl_info info;

    /* The libraries that both use have their own ways to run out of memory. */
    if (!meter || meter->who < NGINX || !dladdr(caller, &info)) {
        return 0;
    }
    if (info.dli_fbase == program) {
        who = NGINX;
    } else if (strstr(info.dli_fname, "clerk_proxy_module")) {
        who = MODULE;
    }
    if (who != meter->who) {
        return 0;
    }

    number = __atomic_add_fetch(&meter->count, 1, __ATOMIC_RELAXED);
    return number >= meter->first && number <= meter->last;
}

static void *none(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    return fails(__builtin_return_address(0)) ? none() : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return fails(__builtin_return_address(0)) ? none() : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return fails(__builtin_return_address(0)) ? none() : __libc_realloc(old, size);
}

int posix_memalign(void **memory, size_t alignment, size_t size)
{
    if (fails(__builtin_return_address(0))) {
        return ENOMEM;
    }
    *memory = __libc_memalign(alignment, size);
    return *memory ? 0 : ENOMEM;
}

int clock_gettime(clockid_t id, struct timespec *now)
{
    int result = syscall(SYS_clock_gettime, id, now);

    if (result != 0 || !meter) {
        return result;
    }
    if (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE) {
        now->tv_sec += meter->wrong;
    } else if (meter->speed > 1 && (id == CLOCK_MONOTONIC || id == CLOCK_MONOTONIC_COARSE)) {
        int64_t millis = (now->tv_sec * 1000 + now->tv_nsec / 1000000) * meter->speed;

        now->tv_sec = millis / 1000;
        now->tv_nsec = millis % 1000 * 1000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;

    (void) zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *place)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (place) {
        *place = now.tv_sec;
    }
    return now.tv_sec;
}
