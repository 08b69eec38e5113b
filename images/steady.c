/* What varies from run to run, held steady: the wall clock and the machine's entropy.

   Preloaded (ld.so(8)) into the kernel of a run whose NBSEAL_HOLD says so. The clock begins at a fixed time, goes on by
   a millisecond whenever the main thread reads it, by their length for its sleeps and for its waits that time out, and
   each cell begins its own minute, so that what a notebook does not do itself never shows. Entropy is a fixed stream
   for each cell and process. Monotonic clocks stay as they are: what waits for something waits in real time.

   Declared here rather than included: the root file system has no headers. */

typedef unsigned long size_t;
typedef long ssize_t;
typedef unsigned long u64;
struct timespec { long tv_sec, tv_nsec; };
struct timeval { long tv_sec, tv_usec; };

extern char *getenv(const char *);
extern int setenv(const char *, const char *, int);
extern char *strstr(const char *, const char *);
extern long atol(const char *);
extern int snprintf(char *, size_t, const char *, ...);
extern int getpid(void);
extern long syscall(long, ...);
extern u64 pthread_self(void);
extern int __register_atfork(void (*)(void), void (*)(void), void (*)(void), void *);
extern void *dlsym(void *, const char *);
extern void *dlvsym(void *, const char *, const char *);
extern int *__errno_location(void);

#define NEXT ((void *)-1L)
#define SYS_clock_gettime 228
#define SYS_clock_nanosleep 230
#define SYS_getrandom 318
#define REALTIME 0
#define MONOTONIC 1
#define REALTIME_COARSE 5
#define TAI 11
#define ABSTIME 1
#define ETIMEDOUT 110
#define SECOND 1000000000L

/* 2025-01-01T00:00:00Z. Any moment would do that is neither in the future nor before what libraries believe in. */
#define BEGINNING (1735689600L * SECOND)
#define TICK 1000000L
#define CELL (60L * SECOND)

/* What the main thread has asked for so far: reads of the clock, bytes of entropy. */
volatile long nbseal_clock_reads, nbseal_entropy_reads;

static int ready, hold_clock, hold_entropy, process;
static u64 main_thread;
static long cell, ended;
/* What the main thread's monotonic clock last said: an end that it then computes lies exactly its length later. */
static long last_read;
/* The main thread's clock, and by how much the clock of all others is ahead of it. */
static volatile long now = BEGINNING, elsewhere;
static volatile long drawn, drawn_elsewhere;
static int (*real_gettime)(int, struct timespec *);

/* In a forked child the thread that forked is the main one, and it draws from a stream of its own. */
static void forked(void)
{
    process = getpid();
    main_thread = pthread_self();
    drawn = drawn_elsewhere = 0;
}

static void prepare(void)
{
    const char *held, *began;
    if (ready)
        return;
    ready = 1;
    held = getenv("NBSEAL_HOLD");
    began = getenv("NBSEAL_CELL");
    hold_clock = held && strstr(held, "clock");
    hold_entropy = held && strstr(held, "seeds");
    real_gettime = dlsym(NEXT, "clock_gettime");
    if (began) {
        cell = atol(began);
        now = BEGINNING + cell * CELL;
    }
    forked(); /* nothing else runs yet when Python first asks for entropy or the time */
    __register_atfork(0, 0, forked, 0);
}

static int in_main_thread(void)
{
    return pthread_self() == main_thread;
}

/* Called before each cell, with its number: what happened between the cells is forgotten. */
void nbseal_begin_cell(long number)
{
    char text[24];
    prepare();
    cell = number;
    drawn = 0;
    now = BEGINNING + number * CELL;
    if (now < ended)
        now = ended;
    snprintf(text, sizeof text, "%ld", number);
    setenv("NBSEAL_CELL", text, 1);
}

/* Called after each cell. */
void nbseal_end_cell(void)
{
    ended = now;
}

static long add(volatile long *where, long amount)
{
    long before = amount;
    asm volatile("lock; xaddq %0, %1" : "+r"(before), "+m"(*where) : : "memory");
    return before + amount;
}

/* The wall clock after it has gone on. Another thread's goes on too, and the main thread's does not notice. */
static long pass(long length)
{
    return in_main_thread() ? add(&now, length) : now + add(&elsewhere, length);
}

static int is_wall(int id)
{
    return id == REALTIME || id == REALTIME_COARSE || id == TAI;
}

static long real_now(int id)
{
    struct timespec ts = {0, 0};
    syscall(SYS_clock_gettime, id, &ts);
    return ts.tv_sec * SECOND + ts.tv_nsec;
}

static void split(long moment, struct timespec *ts)
{
    ts->tv_sec = moment / SECOND;
    ts->tv_nsec = moment % SECOND;
}

int clock_gettime(int id, struct timespec *ts)
{
    if (!ready || is_wall(id))
        prepare();
    if (is_wall(id) && in_main_thread())
        nbseal_clock_reads++;
    if (!is_wall(id) || !hold_clock) {
        int result = real_gettime ? real_gettime(id, ts) : (int)syscall(SYS_clock_gettime, id, ts);
        if (hold_clock && id == MONOTONIC && in_main_thread())
            last_read = ts->tv_sec * SECOND + ts->tv_nsec;
        return result;
    }
    split(pass(TICK), ts);
    return 0;
}

int gettimeofday(struct timeval *tv, void *zone)
{
    struct timespec ts;
    clock_gettime(REALTIME, &ts);
    if (tv) {
        tv->tv_sec = ts.tv_sec;
        tv->tv_usec = ts.tv_nsec / 1000;
    }
    return 0;
}

long time(long *where)
{
    struct timespec ts;
    clock_gettime(REALTIME, &ts);
    if (where)
        *where = ts.tv_sec;
    return ts.tv_sec;
}

int timespec_get(struct timespec *ts, int base)
{
    clock_gettime(REALTIME, ts);
    return base;
}

/* How long a wait is that ends at a monotonic time. */
static long length_until(const struct timespec *end)
{
    long moment = end->tv_sec * SECOND + end->tv_nsec;
    long length = moment - (in_main_thread() && last_read ? last_read : real_now(MONOTONIC));
    return length > 0 ? length : 0;
}

/* Sleeping takes its time, and the steady clock goes on by as much. Returns an error number, as clock_nanosleep(2). */
int clock_nanosleep(int id, int flags, const struct timespec *wanted, struct timespec *left)
{
    struct timespec rest = {0, 0};
    long length;
    prepare();
    length = wanted->tv_sec * SECOND + wanted->tv_nsec;
    if (hold_clock && is_wall(id)) {
        if (flags & ABSTIME)
            length -= now;
        split(length > 0 ? length : 0, &rest);
        wanted = &rest, flags = 0, id = MONOTONIC;
    } else if (flags & ABSTIME)
        length = length_until(wanted);
    if (syscall(SYS_clock_nanosleep, id, flags, wanted, left) < 0)
        return *__errno_location();
    if (hold_clock && length > 0)
        pass(length);
    return 0;
}

int nanosleep(const struct timespec *wanted, struct timespec *left)
{
    int error = clock_nanosleep(MONOTONIC, 0, wanted, left);
    if (!error)
        return 0;
    *__errno_location() = error;
    return -1;
}

int usleep(unsigned int length)
{
    struct timespec wanted;
    split(length * 1000L, &wanted);
    return nanosleep(&wanted, 0);
}

unsigned int sleep(unsigned int seconds)
{
    struct timespec wanted = {seconds, 0}, left = {0, 0};
    return nanosleep(&wanted, &left) ? (unsigned int)left.tv_sec : 0;
}

/* A wait that ends at a wall clock time was given it by the steady clock: the operating system knows only the real one.
   Some waits end at a monotonic time and are told apart by its size, the time since the machine was started. */
static const struct timespec *really(const struct timespec *end, struct timespec *room)
{
    long moment;
    prepare();
    if (!hold_clock || !end || end->tv_sec < BEGINNING / SECOND / 2)
        return end;
    moment = end->tv_sec * SECOND + end->tv_nsec - now;
    split(real_now(REALTIME) + (moment > 0 ? moment : 0), room);
    return room;
}

/* How long such a wait is: since its end was computed from a monotonic clock, or by the steady one. */
static long length_of(const struct timespec *end)
{
    long length;
    if (!hold_clock || !end)
        return 0;
    if (end->tv_sec < BEGINNING / SECOND / 2)
        return length_until(end);
    length = end->tv_sec * SECOND + end->tv_nsec - now;
    return length > 0 ? length : 0;
}

/* What a wait returned, after letting the clock go on if it timed out. */
static int waited(int result, int timed_out, long length)
{
    if (timed_out && hold_clock && length > 0)
        pass(length);
    return result;
}

#define REAL(name, version, ...) \
    static int (*real)(__VA_ARGS__); \
    prepare(); \
    if (!real) \
        real = dlvsym(NEXT, name, version); \
    if (!real) \
        real = dlsym(NEXT, name)

int pthread_cond_timedwait(void *condition, void *mutex, const struct timespec *end)
{
    struct timespec room;
    long length;
    int result;
    REAL("pthread_cond_timedwait", "GLIBC_2.3.2", void *, void *, const struct timespec *);
    length = length_of(end);
    result = real(condition, mutex, really(end, &room));
    return waited(result, result == ETIMEDOUT, length);
}

int pthread_cond_clockwait(void *condition, void *mutex, int id, const struct timespec *end)
{
    struct timespec room;
    long length;
    int result;
    REAL("pthread_cond_clockwait", "GLIBC_2.30", void *, void *, int, const struct timespec *);
    length = length_of(end);
    result = real(condition, mutex, id, really(end, &room));
    return waited(result, result == ETIMEDOUT, length);
}

int pthread_mutex_timedlock(void *mutex, const struct timespec *end)
{
    struct timespec room;
    long length;
    int result;
    REAL("pthread_mutex_timedlock", "GLIBC_2.2.5", void *, const struct timespec *);
    length = length_of(end);
    result = real(mutex, really(end, &room));
    return waited(result, result == ETIMEDOUT, length);
}

int sem_timedwait(void *semaphore, const struct timespec *end)
{
    struct timespec room;
    long length;
    int result;
    REAL("sem_timedwait", "GLIBC_2.2.5", void *, const struct timespec *);
    length = length_of(end);
    result = real(semaphore, really(end, &room));
    return waited(result, result < 0 && *__errno_location() == ETIMEDOUT, length);
}

int sem_clockwait(void *semaphore, int id, const struct timespec *end)
{
    struct timespec room;
    long length;
    int result;
    REAL("sem_clockwait", "GLIBC_2.30", void *, int, const struct timespec *);
    length = length_of(end);
    result = real(semaphore, id, really(end, &room));
    return waited(result, result < 0 && *__errno_location() == ETIMEDOUT, length);
}

int poll(void *files, unsigned long count, int milliseconds)
{
    int result;
    REAL("poll", "GLIBC_2.2.5", void *, unsigned long, int);
    result = real(files, count, milliseconds);
    return waited(result, result == 0, milliseconds * (SECOND / 1000));
}

int ppoll(void *files, unsigned long count, const struct timespec *length, const void *mask)
{
    int result;
    REAL("ppoll", "GLIBC_2.4", void *, unsigned long, const struct timespec *, const void *);
    result = real(files, count, length, mask);
    return waited(result, result == 0 && length, length ? length->tv_sec * SECOND + length->tv_nsec : 0);
}

int epoll_wait(int epoll, void *events, int count, int milliseconds)
{
    int result;
    REAL("epoll_wait", "GLIBC_2.3.2", int, void *, int, int);
    result = real(epoll, events, count, milliseconds);
    return waited(result, result == 0, milliseconds * (SECOND / 1000));
}

int epoll_pwait(int epoll, void *events, int count, int milliseconds, const void *mask)
{
    int result;
    REAL("epoll_pwait", "GLIBC_2.6", int, void *, int, int, const void *);
    result = real(epoll, events, count, milliseconds, mask);
    return waited(result, result == 0, milliseconds * (SECOND / 1000));
}

/* select(2) changes what it was given to what is left of it. */
int select(int count, void *reading, void *writing, void *failing, struct timeval *timeout)
{
    long length = timeout ? timeout->tv_sec * SECOND + timeout->tv_usec * 1000 : 0;
    int result;
    REAL("select", "GLIBC_2.2.5", int, void *, void *, void *, struct timeval *);
    result = real(count, reading, writing, failing, timeout);
    return waited(result, result == 0, length);
}

/* SplitMix64 (Steele, Lea and Flood, 2014). */
static u64 mix(u64 z)
{
    z += 0x9e3779b97f4a7c15UL;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9UL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebUL;
    return z ^ (z >> 31);
}

static void fill(unsigned char *into, size_t size)
{
    int ours = in_main_thread();
    u64 key = mix(mix((u64)process) ^ ((u64)cell * 2 + !ours)), word;
    size_t done = 0, i;
    while (done < size) {
        word = mix(key ^ mix((u64)add(ours ? &drawn : &drawn_elsewhere, 1)));
        for (i = 0; i < 8 && done < size; i++, done++)
            into[done] = (unsigned char)(word >> (8 * i));
    }
}

ssize_t getrandom(void *into, size_t size, unsigned int flags)
{
    prepare();
    if (in_main_thread())
        nbseal_entropy_reads++;
    if (!hold_entropy)
        return syscall(SYS_getrandom, into, size, flags);
    fill(into, size);
    return (ssize_t)size;
}

int getentropy(void *into, size_t size)
{
    return getrandom(into, size, 0) == (ssize_t)size ? 0 : -1;
}

void arc4random_buf(void *into, size_t size)
{
    size_t done = 0;
    ssize_t got;
    while (done < size && (got = getrandom((char *)into + done, size - done, 0)) > 0)
        done += (size_t)got;
}

unsigned int arc4random(void)
{
    unsigned int value = 0;
    arc4random_buf(&value, sizeof value);
    return value;
}

/* C++'s std::random_device, which would ask the processor (rdrand): its member _M_getval() as GNU libstdc++ names it. */
unsigned int _ZNSt13random_device9_M_getvalEv(void *device)
{
    static unsigned int (*real)(void *);
    unsigned int value = 0;
    prepare();
    if (!real)
        real = dlsym(NEXT, "_ZNSt13random_device9_M_getvalEv");
    if (hold_entropy || !real) {
        getrandom(&value, sizeof value, 0);
        return value;
    }
    if (in_main_thread())
        nbseal_entropy_reads++;
    return real(device);
}
