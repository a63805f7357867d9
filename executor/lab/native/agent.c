/*
 * agent: all that runs inside a guest of the lab. It is PID 1 of a one-file initramfs.
 *
 * It makes a known load, and it can prove afterwards that nothing of it was lost on the way from host to host.
 *
 * Kernel command line (defaults below): lab.ip lab.peer lab.ws lab.rate lab.dirty lab.disk lab.net lab.tick
 *
 *     ws    MiB of working set, filled with data that does not compress
 *     rate  MiB/s of it made dirty, one cache line in each page; 0 = none, -1 = as fast as it goes
 *     dirty which page is next, and whether the rate changes with time (in thousandths: SHARE, EXPONENT):
 *           sweep                        page after page
 *           hot:MIB:SHARE                the first MIB take SHARE of the writes, the rest sweep over the others
 *           zipf:EXPONENT                by popularity, the ranks scattered over the working set
 *           phases:MS:RATE:MIB,...       in turn, each with a rate and a part of its own, after that of the one before
 *           ...+burst:RATE:MS:EVERY_MS   RATE instead, for MS of every EVERY_MS
 *     disk  KiB/s written to /dev/vda, vdb, ... (a comma list), in numbered blocks of 4 KiB, each on the disk before it
 *           counts
 *     net   KiB/s sent to lab.peer port 9 beside the streams
 *     tick  ms between two messages of the streams; 0 = 1 while somebody holds a TCP stream, else 4
 *
 * Streams, each message two little-endian u64: a sequence number and the guest's monotonic clock in ns.
 * UDP to lab.peer port 7001, numbered over the guest's life; TCP on port 7000, numbered for each connection.
 *
 * TCP on port 7002, one line in, one line out:
 *
 *     dirty WS RATE [DIRTY] | rate RATE | disk KIB (each) | net KIB | tick MS     "ok", after it is done
 *     stat        up_ns= pages= disk= disk_err= seq= ws= rate=
 *     verify      bad=N of M disk_bad=N of M: pages and blocks that do not hold what was last written to them
 *     poweroff    "ok", then it is off
 *
 * What cannot be done is answered with "error: WHY". On the console it says LAB-READY once it listens.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

#define STREAM_PORT 7000
#define UDP_PORT 7001
#define DISCARD_PORT 9
#define CONTROL_PORT 7002
#define PAGE 4096ull
#define WORDS (PAGE / 8)
#define MIB (1ull << 20)
#define SPARE_MIB 24 /* left to the kernel when the working set is filled */
#define DISKS 4
#define PHASES 16
#define MS 1000000ull
#define S 1000000000ull

static char own_ip[64] = "10.20.0.101", peer_ip[64] = "10.20.0.1";
static atomic_long rate_mib_s = 0, net_kib_s = 0, tick_ms = 0;
static atomic_ulong sent, watchers;

/* How the working set is written to. */
struct profile {
    enum { SWEEP, HOT, ZIPF, PHASED } pattern;
    long hot_mib, share, exponent;
    int phases;
    struct { long ms, rate, mib; } phase[PHASES];
    long burst_rate, burst_ms, every_ms; /* every_ms 0: no bursts */
};

/* The working set, and how often each page was written: what it must hold. The counts are memory, too, and could
 * be lost with their pages; so every change of one goes into a digest of all, which they are held against. */
static struct {
    pthread_mutex_t lock;
    atomic_int wanted; /* somebody waits for the lock: an unbounded writer would never let go */
    uint64_t *words;
    uint32_t *counts;
    uint64_t *chances;     /* zipf: of rank r or a more popular one, of 2^64 */
    uint64_t mib, pages;
    uint64_t digest;
    uint64_t sweep, hot;   /* how far they are */
    uint64_t stride;       /* zipf: prime to the number of pages, so that ranks are scattered over all of them */
    struct profile profile;
    uint64_t since_ns;     /* when the profile was set */
    atomic_ulong total;    /* writes since boot */
} memory = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The disks. Block number n goes to slot n modulo the number of slots. */
static struct disk {
    pthread_mutex_t lock;
    int file;
    uint64_t slots;
    atomic_long kib_s;
    atomic_ulong blocks, errors;
} disks[DISKS];

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * S + (uint64_t)time.tv_nsec;
}

static void nap(uint64_t ns)
{
    struct timespec time = {(time_t)(ns / S), (long)(ns % S)};
    nanosleep(&time, NULL);
}

/* splitmix64: one number to another that looks like noise. */
static uint64_t mix(uint64_t value)
{
    value += 0x9e3779b97f4a7c15ull;
    value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9ull;
    value = (value ^ (value >> 27)) * 0x94d049bb133111ebull;
    return value ^ (value >> 31);
}

/* Credit that grows with time at a rate and never beyond a cap: what was missed in a pause is not made up for. */
struct credit {
    uint64_t last_ns;
    double left;
};

static void earn(struct credit *credit, double per_s, double cap)
{
    uint64_t now = now_ns();
    credit->left += (double)(now - credit->last_ns) / 1e9 * per_s;
    credit->last_ns = now;
    if (credit->left > cap)
        credit->left = cap;
}

/* ---- memory ---- */

/* Page: its number, how often it was written, noise of both, then noise that depends on its number alone. */
static void fill_page(uint64_t *page, uint64_t number)
{
    uint64_t noise = mix(number);
    page[0] = number;
    page[1] = 0;
    page[2] = mix(number);
    for (uint64_t i = 3; i < WORDS; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        page[i] = noise;
    }
}

static int page_is_whole(const uint64_t *page, uint64_t number, uint64_t writes)
{
    uint64_t noise = mix(number);
    if (page[0] != number || page[1] != writes || page[2] != mix(number + (writes << 32)))
        return 0;
    for (uint64_t i = 3; i < WORDS; i++) {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        if (page[i] != noise)
            return 0;
    }
    return 1;
}

/* xorshift64: which page, not what is in it. */
static uint64_t draw(void)
{
    static uint64_t state = 0x2545f4914f6cdd1dull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

/* The phase that it is now, and where its part of the working set begins. */
static int phase_now(uint64_t *first)
{
    const struct profile *profile = &memory.profile;
    uint64_t all = 0, now = (now_ns() - memory.since_ns) / MS;
    int at = 0;

    for (int i = 0; i < profile->phases; i++)
        all += (uint64_t)profile->phase[i].ms;
    now %= all;
    *first = 0;
    while (now >= (uint64_t)profile->phase[at].ms) {
        now -= (uint64_t)profile->phase[at].ms;
        *first += (uint64_t)profile->phase[at++].mib * (MIB / PAGE);
    }
    return at;
}

/* MiB/s at this moment. Caller holds the lock. */
static long rate_now(void)
{
    const struct profile *profile = &memory.profile;
    uint64_t first, now = (now_ns() - memory.since_ns) / MS;

    if (profile->every_ms > 0 && now % (uint64_t)profile->every_ms < (uint64_t)profile->burst_ms)
        return profile->burst_rate;
    if (profile->pattern == PHASED)
        return profile->phase[phase_now(&first)].rate;
    return rate_mib_s;
}

static uint64_t zipf_page(void)
{
    uint64_t chance = draw(), low = 0, high = memory.pages - 1;
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (memory.chances[middle] < chance)
            low = middle + 1;
        else
            high = middle;
    }
    return low * memory.stride % memory.pages;
}

/* Caller holds the lock. */
static void write_pages(uint64_t count)
{
    const struct profile *profile = &memory.profile;
    uint64_t hot = (uint64_t)profile->hot_mib * (MIB / PAGE), first = 0, window = memory.pages;
    uint64_t share = (uint64_t)profile->share * (UINT64_MAX / 1000);

    if (hot > memory.pages)
        hot = memory.pages;
    if (profile->pattern == PHASED) {
        window = (uint64_t)profile->phase[phase_now(&first)].mib * (MIB / PAGE);
        if (window > memory.pages)
            window = memory.pages;
    }
    for (uint64_t i = 0; i < count; i++) {
        uint64_t number, *page, before, after;
        switch (profile->pattern) {
        case HOT:
            if (hot == memory.pages || draw() < share)
                number = memory.hot++ % hot;
            else
                number = hot + memory.sweep++ % (memory.pages - hot);
            break;
        case ZIPF:
            number = zipf_page();
            break;
        default:
            number = (first + memory.sweep++ % window) % memory.pages;
        }
        before = memory.counts[number]++;
        after = mix(number + ((before + 1) << 32));
        page = memory.words + number * WORDS;
        page[1] = before + 1;
        page[2] = after;
        memory.digest ^= after ^ mix(number + (before << 32));
    }
    memory.total += count;
}

static void lock_memory(void)
{
    memory.wanted++;
    pthread_mutex_lock(&memory.lock);
    memory.wanted--;
}

/* Read a profile as in the head of this file. NULL, or why not. */
static const char *parse_profile(const char *text, struct profile *profile)
{
    const char *burst = strchr(text, '+');
    long rate, ms, every;

    *profile = (struct profile){0};
    if (burst) {
        if (sscanf(burst, "+burst:%ld:%ld:%ld", &rate, &ms, &every) != 3 || rate < 0 || ms < 0 || every <= 0)
            return "expected +burst:RATE:MS:EVERY_MS";
        profile->burst_rate = rate;
        profile->burst_ms = ms;
        profile->every_ms = every;
    }
    if (strncmp(text, "sweep", 5) == 0)
        return NULL;
    if (sscanf(text, "hot:%ld:%ld", &profile->hot_mib, &profile->share) == 2) {
        profile->pattern = HOT;
        return profile->hot_mib > 0 && profile->share >= 0 && profile->share <= 1000 ? NULL : "expected hot:MIB:SHARE";
    }
    if (sscanf(text, "zipf:%ld", &profile->exponent) == 1) {
        profile->pattern = ZIPF;
        return profile->exponent >= 0 ? NULL : "expected zipf:EXPONENT";
    }
    if (strncmp(text, "phases:", 7) == 0) {
        profile->pattern = PHASED;
        for (text += 7; profile->phases < PHASES; text++) {
            long mib;
            if (sscanf(text, "%ld:%ld:%ld", &ms, &rate, &mib) != 3 || ms <= 0 || rate < 0 || mib <= 0)
                break;
            profile->phase[profile->phases].ms = ms;
            profile->phase[profile->phases].rate = rate;
            profile->phase[profile->phases++].mib = mib;
            text += strcspn(text, ",+");
            if (*text != ',')
                return NULL;
        }
    }
    return "expected sweep, hot:MIB:SHARE, zipf:EXPONENT or phases:MS:RATE:MIB,...";
}

static void *map(uint64_t bytes)
{
    void *made = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return made == MAP_FAILED ? NULL : made;
}

/* Zipf's chances, summed up; and a stride. Caller holds the lock. */
static void weigh_ranks(void)
{
    double exponent = (double)memory.profile.exponent / 1000, all = 0, sum = 0;

    for (uint64_t rank = 1; rank <= memory.pages; rank++)
        all += pow((double)rank, -exponent);
    for (uint64_t rank = 1; rank < memory.pages; rank++) {
        sum += pow((double)rank, -exponent) / all;
        memory.chances[rank - 1] = sum < 1 ? (uint64_t)(sum * 18446744073709549568.0) : UINT64_MAX;
    }
    memory.chances[memory.pages - 1] = UINT64_MAX;
    /* A golden section of them, the first from there that shares no divisor with their number. */
    for (memory.stride = (uint64_t)((double)memory.pages * 0.618) | 1;; memory.stride += 2) {
        uint64_t a = memory.stride, b = memory.pages;
        while (b) {
            uint64_t rest = a % b;
            a = b;
            b = rest;
        }
        if (a == 1)
            return;
    }
}

/* NULL, or why not. */
static const char *set_working_set(uint64_t mib, const struct profile *profile)
{
    const char *why = NULL;
    struct sysinfo info;
    uint64_t pages = mib * MIB / PAGE;

    lock_memory();
    if (memory.words)
        munmap(memory.words, memory.pages * PAGE);
    if (memory.counts)
        munmap(memory.counts, memory.pages * sizeof *memory.counts);
    if (memory.chances)
        munmap(memory.chances, memory.pages * sizeof *memory.chances);
    memory.words = memory.chances = NULL;
    memory.counts = NULL;
    memory.mib = memory.pages = memory.digest = memory.sweep = memory.hot = 0;
    memory.profile = *profile;
    memory.since_ns = now_ns();
    sysinfo(&info);
    if (mib > 0 && mib + SPARE_MIB > (uint64_t)info.freeram * info.mem_unit / MIB)
        why = "the guest has not enough free memory for this working set";
    else if (mib > 0) {
        memory.words = map(pages * PAGE);
        memory.counts = map(pages * sizeof *memory.counts);
        if (profile->pattern == ZIPF)
            memory.chances = map(pages * sizeof *memory.chances);
        if (!memory.words || !memory.counts || (profile->pattern == ZIPF && !memory.chances)) {
            printf("no memory: %s\n", strerror(errno));
            reboot(RB_POWER_OFF);
        }
        memory.pages = pages;
        if (profile->pattern == ZIPF)
            weigh_ranks();
        for (uint64_t number = 0; number < pages; number++) {
            fill_page(memory.words + number * WORDS, number);
            memory.digest ^= mix(number);
        }
        memory.mib = mib;
    }
    pthread_mutex_unlock(&memory.lock);
    return why;
}

static void *keep_dirtying(void *wanted_mib)
{
    struct credit credit = {0};
    struct profile profile = memory.profile;
    const char *why = set_working_set((uint64_t)(uintptr_t)wanted_mib, &profile);

    if (why)
        printf("working set: %s\n", why);
    for (;;) {
        long rate = 0;

        if (!memory.wanted) {
            pthread_mutex_lock(&memory.lock);
            rate = memory.words ? rate_now() : 0;
            if (rate < 0)
                write_pages(4096);
            else if (rate > 0) {
                double per_s = (double)rate * (double)(MIB / PAGE);
                /* 50 ms worth: a slow tick is caught up with, a migration's pause is not. */
                earn(&credit, per_s, per_s * 0.05 + 1);
                write_pages((uint64_t)credit.left);
                credit.left -= (double)(uint64_t)credit.left;
            }
            pthread_mutex_unlock(&memory.lock);
        }
        if (rate == 0)
            credit = (struct credit){.last_ns = now_ns()};
        if (rate >= 0)
            nap(2 * MS);
    }
    return NULL;
}

static void verify_memory(uint64_t *bad, uint64_t *all)
{
    uint64_t digest = 0;

    lock_memory();
    *bad = 0;
    *all = memory.pages;
    for (uint64_t number = 0; number < memory.pages; number++) {
        uint64_t writes = memory.counts[number];
        /* A page that was never written to holds the noise of its fill. */
        *bad += !page_is_whole(memory.words + number * WORDS, number, writes);
        digest ^= mix(number + (writes << 32));
    }
    /* Counts that were lost together with their pages. */
    *bad += digest != memory.digest;
    pthread_mutex_unlock(&memory.lock);
}

/* ---- disk ---- */

static void make_block(uint64_t *block, uint64_t number)
{
    block[0] = number;
    for (uint64_t i = 1; i < WORDS; i++)
        block[i] = mix(number * WORDS + i);
}

static void *keep_writing(void *which)
{
    struct disk *disk = which;
    struct credit credit = {0};
    uint64_t *block;
    char path[] = "/dev/vda";

    path[7] = (char)('a' + (disk - disks));
    for (int i = 0; i < 50 && disk->file < 0; i++) {
        /* Around the guest's page cache: what counts as written is on the host's side. */
        disk->file = open(path, O_RDWR | O_DIRECT | O_DSYNC | O_CLOEXEC);
        if (disk->file < 0)
            nap(100 * MS);
    }
    if (disk->file < 0 || posix_memalign((void **)&block, PAGE, PAGE))
        return NULL;
    disk->slots = (uint64_t)lseek(disk->file, 0, SEEK_END) / PAGE;
    for (;;) {
        long rate = disk->kib_s;
        if (rate <= 0 || disk->slots == 0) {
            nap(20 * MS);
            credit = (struct credit){.last_ns = now_ns()};
            continue;
        }
        earn(&credit, (double)rate / 4, (double)rate / 4 * 0.1 + 1);
        while (credit.left >= 1) {
            credit.left -= 1;
            pthread_mutex_lock(&disk->lock);
            make_block(block, disk->blocks);
            /* A block that failed is written again under the same number. */
            if (pwrite(disk->file, block, PAGE, (off_t)(disk->blocks % disk->slots * PAGE)) == (ssize_t)PAGE)
                disk->blocks++;
            else
                disk->errors++;
            pthread_mutex_unlock(&disk->lock);
        }
        nap(5 * MS);
    }
    return NULL;
}

/* Adds to both. */
static void verify_disk(struct disk *disk, uint64_t *bad, uint64_t *all)
{
    enum { CHUNK = 16 };
    uint64_t *blocks = NULL, expected[WORDS], filled;

    if (disk->file < 0 || posix_memalign((void **)&blocks, PAGE, CHUNK * PAGE))
        return;
    pthread_mutex_lock(&disk->lock);
    filled = disk->blocks < disk->slots ? disk->blocks : disk->slots;
    for (uint64_t slot = 0; slot < filled; slot++) {
        uint64_t in_chunk = slot % CHUNK, left = filled - slot;
        if (in_chunk == 0) {
            size_t length = (left < CHUNK ? left : CHUNK) * PAGE;
            if (pread(disk->file, blocks, length, (off_t)(slot * PAGE)) != (ssize_t)length)
                memset(blocks, 0xff, length); /* unreadable: no block number is all ones */
        }
        make_block(expected, slot + (disk->blocks - 1 - slot) / disk->slots * disk->slots);
        *bad += memcmp(expected, blocks + in_chunk * WORDS, PAGE) != 0;
    }
    *all += filled;
    pthread_mutex_unlock(&disk->lock);
    free(blocks);
}

/* ---- network ---- */

static void thread(void *(*run)(void *), void *argument)
{
    pthread_attr_t attributes;
    pthread_t made;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 << 10);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&made, &attributes, run, argument))
        printf("no thread: %s\n", strerror(errno));
    pthread_attr_destroy(&attributes);
}

static void rest(void)
{
    nap((tick_ms > 0 ? (uint64_t)tick_ms : watchers > 0 ? 1 : 4) * MS);
}

static void *keep_sending(void *unused)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(UDP_PORT)};
    int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)unused;
    inet_pton(AF_INET, peer_ip, &to.sin_addr);
    for (;;) {
        uint64_t message[2] = {sent, now_ns()};
        /* Numbered when it has left: what the guest could not even send is not lost on the line. */
        if (sendto(file, message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to) > 0)
            sent++;
        rest();
    }
    return NULL;
}

/* Nobody listens there; it is traffic that a migration has to share its way with. */
static void *keep_talking(void *unused)
{
    static const char filler[1400];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(DISCARD_PORT)};
    struct credit credit = {0};
    int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    (void)unused;
    inet_pton(AF_INET, peer_ip, &to.sin_addr);
    for (;;) {
        double per_s = (double)net_kib_s * 1024 / sizeof filler;
        earn(&credit, per_s, per_s * 0.05 + 1);
        for (; credit.left >= 1; credit.left -= 1)
            sendto(file, filler, sizeof filler, MSG_DONTWAIT, (struct sockaddr *)&to, sizeof to);
        nap(5 * MS);
    }
    return NULL;
}

static void *stream(void *connection)
{
    int file = (int)(intptr_t)connection, on = 1;

    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    watchers++;
    for (uint64_t number = 0;; number++) {
        uint64_t message[2] = {number, now_ns()};
        if (send(file, message, sizeof message, MSG_NOSIGNAL) != (ssize_t)sizeof message)
            break;
        rest();
    }
    watchers--;
    close(file);
    return NULL;
}

static void answer(int file, const char *line)
{
    uint64_t bad_pages, pages, bad_blocks = 0, blocks = 0, errors = 0;
    const char *why = NULL;
    long first, second;
    char text[512] = "sweep";

    if (sscanf(line, "dirty %ld %ld %511s", &first, &second, text) >= 2 && first >= 0 && second >= -1) {
        struct profile profile;
        why = parse_profile(text, &profile);
        if (!why) {
            rate_mib_s = 0;
            why = set_working_set((uint64_t)first, &profile);
            rate_mib_s = second;
        }
    } else if (sscanf(line, "rate %ld", &first) == 1 && first >= -1)
        rate_mib_s = first;
    else if (sscanf(line, "disk %ld", &first) == 1 && first >= 0)
        for (int i = 0; i < DISKS; i++)
            disks[i].kib_s = first;
    else if (sscanf(line, "net %ld", &first) == 1 && first >= 0)
        net_kib_s = first;
    else if (sscanf(line, "tick %ld", &first) == 1 && first >= 0)
        tick_ms = first;
    else if (strncmp(line, "stat", 4) == 0) {
        for (int i = 0; i < DISKS; i++) {
            blocks += disks[i].blocks;
            errors += disks[i].errors;
        }
        dprintf(file, "up_ns=%lu pages=%lu disk=%lu disk_err=%lu seq=%lu ws=%lu rate=%ld\n", now_ns(), memory.total,
                blocks, errors, sent, memory.mib, rate_mib_s);
        return;
    } else if (strncmp(line, "verify", 6) == 0) {
        verify_memory(&bad_pages, &pages);
        for (int i = 0; i < DISKS; i++)
            verify_disk(&disks[i], &bad_blocks, &blocks);
        dprintf(file, "bad=%lu of %lu disk_bad=%lu of %lu\n", bad_pages, pages, bad_blocks, blocks);
        return;
    } else if (strncmp(line, "poweroff", 8) == 0) {
        dprintf(file, "ok\n");
        nap(50 * MS); /* lets the answer leave */
        reboot(RB_POWER_OFF);
    } else
        why = "not understood: dirty WS RATE [DIRTY] | rate R | disk K | net K | tick T | stat | verify | poweroff";
    if (why)
        dprintf(file, "error: %s\n", why);
    else
        dprintf(file, "ok\n");
}

static void *control(void *connection)
{
    int file = (int)(intptr_t)connection;
    FILE *lines = fdopen(file, "r");
    char line[640];

    while (lines && fgets(line, sizeof line, lines))
        answer(file, line);
    if (lines)
        fclose(lines);
    return NULL;
}

static int listen_on(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int file = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

    setsockopt(file, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(file, (struct sockaddr *)&address, sizeof address) < 0 || listen(file, 16) < 0)
        printf("port %d: %s\n", port, strerror(errno));
    return file;
}

static void serve(int file, void *(*run)(void *))
{
    for (;;) {
        int connection = accept4(file, NULL, NULL, SOCK_CLOEXEC);
        if (connection >= 0)
            thread(run, (void *)(intptr_t)connection);
        else
            nap(10 * MS);
    }
}

static void *serve_streams(void *file)
{
    serve((int)(intptr_t)file, stream);
    return NULL;
}

static void raise_interface(const char *name, const char *ip, const char *mask)
{
    int file = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = {0};
    struct sockaddr_in address = {.sin_family = AF_INET};

    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", name);
    /* The card is probed while its module loads, but not always before that returns. */
    for (int i = 0; i < 100 && ioctl(file, SIOCGIFFLAGS, &request) < 0; i++)
        nap(20 * MS);
    inet_pton(AF_INET, ip, &address.sin_addr);
    memcpy(&request.ifr_addr, &address, sizeof address);
    if (ioctl(file, SIOCSIFADDR, &request) < 0)
        printf("%s: %s\n", name, strerror(errno));
    inet_pton(AF_INET, mask, &address.sin_addr);
    memcpy(&request.ifr_netmask, &address, sizeof address);
    ioctl(file, SIOCSIFNETMASK, &request);
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(file, SIOCSIFFLAGS, &request) < 0)
        printf("%s: %s\n", name, strerror(errno));
    close(file);
}

/* ---- boot ---- */

/* Modules are numbered so that what one needs comes before it. */
static void load_modules(void)
{
    for (int number = 0;; number++) {
        char path[32];
        int file;
        snprintf(path, sizeof path, "/modules/%02d.ko", number);
        file = open(path, O_RDONLY | O_CLOEXEC);
        if (file < 0)
            return;
        if (syscall(SYS_finit_module, file, "", 0) && errno != EEXIST)
            printf("%s: %s\n", path, strerror(errno));
        close(file);
    }
}

static const char *option(const char *command_line, const char *name, char *value, size_t size)
{
    const char *found = strstr(command_line, name);
    if (!found)
        return NULL;
    found += strlen(name);
    snprintf(value, size, "%.*s", (int)strcspn(found, " \n"), found);
    return value;
}

int main(void)
{
    char line[4096] = "", value[512];
    const char *why, *rates;
    long working_set = 0;
    int file, streams, controls;

    signal(SIGPIPE, SIG_IGN);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    file = open("/dev/console", O_RDWR);
    if (file >= 0)
        for (int i = 0; i < 3; i++)
            dup2(file, i);
    setvbuf(stdout, NULL, _IONBF, 0);
    load_modules();

    file = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    if (file < 0 || read(file, line, sizeof line - 1) < 0)
        printf("/proc/cmdline: %s\n", strerror(errno));
    close(file);
    option(line, "lab.ip=", own_ip, sizeof own_ip);
    option(line, "lab.peer=", peer_ip, sizeof peer_ip);
    if (option(line, "lab.ws=", value, sizeof value))
        working_set = strtol(value, NULL, 10);
    if (option(line, "lab.rate=", value, sizeof value))
        rate_mib_s = strtol(value, NULL, 10);
    if (option(line, "lab.dirty=", value, sizeof value) && (why = parse_profile(value, &memory.profile)))
        printf("lab.dirty: %s\n", why);
    if (option(line, "lab.net=", value, sizeof value))
        net_kib_s = strtol(value, NULL, 10);
    rates = option(line, "lab.disk=", value, sizeof value);
    for (int i = 0; i < DISKS; i++) {
        disks[i] = (struct disk){.lock = PTHREAD_MUTEX_INITIALIZER, .file = -1};
        if (rates) {
            disks[i].kib_s = strtol(rates, NULL, 10);
            rates = strchr(rates, ',');
            rates += rates ? 1 : 0;
        }
    }
    if (option(line, "lab.tick=", value, sizeof value) && strtol(value, NULL, 10) > 0)
        tick_ms = strtol(value, NULL, 10);

    raise_interface("lo", "127.0.0.1", "255.0.0.0");
    raise_interface("eth0", own_ip, "255.255.255.0");
    streams = listen_on(STREAM_PORT);
    controls = listen_on(CONTROL_PORT);
    thread(keep_dirtying, (void *)(uintptr_t)(working_set > 0 ? working_set : 0));
    for (int i = 0; i < DISKS; i++)
        thread(keep_writing, &disks[i]);
    thread(keep_talking, NULL);
    thread(keep_sending, NULL);
    thread(serve_streams, (void *)(intptr_t)streams);
    printf("LAB-READY ip=%s up_ms=%lu\n", own_ip, (unsigned long)(now_ns() / MS));
    serve(controls, control);
}
