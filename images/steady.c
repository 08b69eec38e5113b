/* What varies from run to run, held steady: the wall clock and the machine's entropy.

   Preloaded (ld.so(8)) into the kernel of a run whose NBSEAL_HOLD says so. The clock begins at a fixed time, goes on by
   a millisecond whenever the main thread reads it and by their length for its sleeps, and each cell begins its own
   minute, so that what a notebook does not do itself never shows. Entropy is a fixed stream for each cell and process.
   Monotonic clocks stay as they are: what waits for something waits in real time.

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
#define SECOND 1000000000L

/* 2025-01-01T00:00:00Z. Any moment would do that is neither in the future nor before what libraries believe in. */
#define BEGINNING (1735689600L * SECOND)
#define TICK 1000000L
#define CELL (60L * SECOND)

/* What the main thread has asked for so far: reads of the clock, bytes of entropy. */
volatile long nbseal_clock_reads, nbseal_entropy_reads;

static int ready, hold_clock, hold_entropy, process;
static u64 main_thread;
static long cell;
static volatile long now = BEGINNING, elsewhere;
static volatile u64 drawn, drawn_elsewhere;
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
    if (now < BEGINNING + number * CELL)
        now = BEGINNING + number * CELL;
    snprintf(text, sizeof text, "%ld", number);
    setenv("NBSEAL_CELL", text, 1);
}

static long steady_now(void)
{
    if (in_main_thread())
        return now += TICK;
    /* Another thread's waiting comes to an end too, and the main thread's clock does not notice. */
    return now + (elsewhere += TICK);
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
    if (!is_wall(id) || !hold_clock)
        return real_gettime ? real_gettime(id, ts) : (int)syscall(SYS_clock_gettime, id, ts);
    split(steady_now(), ts);
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

/* Sleeping takes its time, and the steady clock goes on by as much. Returns an error number, as clock_nanosleep(2). */
int clock_nanosleep(int id, int flags, const struct timespec *wanted, struct timespec *left)
{
    struct timespec rest = {0, 0};
    long length, result;
    prepare();
    length = wanted->tv_sec * SECOND + wanted->tv_nsec;
    if (hold_clock && is_wall(id)) {
        if (flags & ABSTIME)
            length -= now;
        if (length < 0)
            length = 0;
        split(length, &rest);
        result = syscall(SYS_clock_nanosleep, MONOTONIC, 0, &rest, left);
    } else {
        if (flags & ABSTIME)
            length -= real_now(id);
        result = syscall(SYS_clock_nanosleep, id, flags, wanted, left);
    }
    if (result < 0)
        return *__errno_location();
    if (hold_clock && length > 0 && in_main_thread())
        now += (length + TICK - 1) / TICK * TICK; /* an absolute end is off by what it took to get here */
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

int pthread_cond_timedwait(void *condition, void *mutex, const struct timespec *end)
{
    static int (*real)(void *, void *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = dlvsym(NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    return real(condition, mutex, really(end, &room));
}

int pthread_mutex_timedlock(void *mutex, const struct timespec *end)
{
    static int (*real)(void *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = dlsym(NEXT, "pthread_mutex_timedlock");
    return real(mutex, really(end, &room));
}

int sem_timedwait(void *semaphore, const struct timespec *end)
{
    static int (*real)(void *, const struct timespec *);
    struct timespec room;
    if (!real)
        real = dlsym(NEXT, "sem_timedwait");
    return real(semaphore, really(end, &room));
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
        word = mix(key ^ mix(ours ? drawn++ : drawn_elsewhere++));
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
