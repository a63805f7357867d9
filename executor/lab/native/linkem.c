/*
 * linkem: a cable between two network namespaces, with a rate, a delay, loss, a queue and a pair of scissors.
 *
 *     linkem NETNS_A IFNAME_A NETNS_B IFNAME_B CONTROL
 *
 * It makes a TAP in each of two namespaces (given as paths, e.g. /proc/123/ns/net), brings both up, prints "up" and
 * carries frames between them until it gets a signal or one of the TAPs is taken away. The TAPs vanish with it.
 *
 * CONTROL is a FIFO (made if it is not there) that takes one command a line; both directions obey it:
 *
 *     rate MBIT      Mbit/s on the wire in each direction, 0 = unlimited
 *     delay MS       one way, after the queue
 *     jitter MS      up to so much more, evenly spread; frames never overtake each other
 *     loss PERCENT   chance of a frame to be lost
 *     queue MS       how much may wait for the wire, measured in time at the set rate; what comes on top is dropped
 *     fair 0|1       1 = flows take turns on the wire, and one that sends little does not wait for the others, as
 *                    behind Linux' usual fq_codel; 0 = first come, first served
 *     cut 0|1        1 = a black hole: nothing passes, nothing is told, what is under way is lost
 *     stat FILE      write the counters to FILE as one JSON object, at once and whole
 *
 * It does the job of netem, which not every kernel has. Frames keep their segmentation offload on the way (a TCP of
 * the one kernel hands 64 KiB at a time to a TCP of the other), which makes it cheap: it shapes Gbit/s in one thread.
 * The time on the wire is that of the segments, each with its own headers.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define VNET_HEADER 12                 /* struct virtio_net_hdr_v1 */
#define MAX_FRAME (VNET_HEADER + 14 + 4 + 65535)
#define WIRE_OVERHEAD 24               /* preamble 8, check sequence 4, gap 12: bytes of every frame that no host sees */
#define BATCH 64                       /* frames taken from one side before the other gets its turn */
#define MAX_BACKLOG (256u << 20)       /* bytes held for one direction: bounds delay x unlimited rate */
#define RETRY_NS 100000                /* pause when the receiving TAP takes no frame */
#define IDLE_NS 1000000000ull

#define LANES 256                      /* flows are told apart by a hash */
#define TURN_BYTES 16384               /* what a flow may send before the next one has its turn */

struct frame {
    struct frame *next;
    uint64_t due_ns;                   /* while it waits: when it came */
    uint64_t wire;                     /* bytes that it takes on the wire */
    size_t length;
    uint8_t bytes[];
};

struct list {
    struct frame *first, *last;
};

struct lane {
    struct list frames;
    struct lane *next;
    uint64_t wire;                     /* bytes that wait */
    int64_t credit;                    /* bytes that it may still send in this turn */
    int in_round;
};

struct round {
    struct lane *first, *last;
};

struct direction {
    int from, to;
    struct lane lanes[LANES];
    struct round fresh, busy;          /* lanes that have just begun to send go first, for one turn */
    uint64_t waiting;                  /* bytes that wait for the wire */
    struct list under_way;
    uint64_t wire_free_ns;             /* when the wire has sent all that was put on it */
    uint64_t held;                     /* bytes waiting or under way */
    uint64_t bytes, frames, dropped;   /* bytes as on the wire */
};

static struct {
    double rate_mbit_s, delay_ms, jitter_ms, loss_percent, queue_ms;
    int cut, fair;
} line = {.queue_ms = 50, .fair = 1};

static void fail(const char *what)
{
    fprintf(stderr, "linkem: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000ull + (uint64_t)time.tv_nsec;
}

/* Uniform in [0, 1): xorshift64 from a fixed seed, so that a run with the same frames loses the same ones. */
static double chance(void)
{
    static uint64_t state = 0x2545f4914f6cdd1dull;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (double)(state >> 11) / 9007199254740992.0;
}

/* With loss the sender must cut its segments itself: one draw may not lose 64 KiB at once. */
static void set_offload(int tap)
{
    unsigned long offload = TUN_F_CSUM;
    if (line.loss_percent <= 0)
        offload |= TUN_F_TSO4 | TUN_F_TSO6;
    if (ioctl(tap, TUNSETOFFLOAD, offload) < 0)
        fail("TUNSETOFFLOAD");
}

static int open_tap(int namespace, const char *name)
{
    struct ifreq request = {0};
    int tap, socket_fd, header = VNET_HEADER;

    if (strlen(name) >= IFNAMSIZ) {
        errno = ENAMETOOLONG;
        fail(name);
    }
    if (setns(namespace, CLONE_NEWNET) < 0)
        fail("setns");
    tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (tap < 0)
        fail("/dev/net/tun");
    strcpy(request.ifr_name, name);
    request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR;
    if (ioctl(tap, TUNSETIFF, &request) < 0)
        fail(name);
    if (ioctl(tap, TUNSETVNETHDRSZ, &header) < 0)
        fail("TUNSETVNETHDRSZ");
    set_offload(tap);

    socket_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_fd < 0)
        fail("socket");
    request.ifr_qlen = 2000;
    if (ioctl(socket_fd, SIOCSIFTXQLEN, &request) < 0)
        fail("SIOCSIFTXQLEN");
    if (ioctl(socket_fd, SIOCGIFFLAGS, &request) < 0)
        fail("SIOCGIFFLAGS");
    request.ifr_flags |= IFF_UP;
    if (ioctl(socket_fd, SIOCSIFFLAGS, &request) < 0)
        fail("SIOCSIFFLAGS");
    close(socket_fd);
    return tap;
}

/* Bytes that this frame takes on the wire. A frame with offload becomes segments, each with a copy of the headers. */
static uint64_t wire_bytes(const uint8_t *bytes, size_t length)
{
    struct virtio_net_hdr header;
    size_t frame = length - VNET_HEADER, headers, segments;

    memcpy(&header, bytes, sizeof header);
    if (header.gso_type == VIRTIO_NET_HDR_GSO_NONE || header.gso_size == 0)
        return frame + WIRE_OVERHEAD;
    /* A checksum left to the card starts where TCP starts; TCP says its own length in the high half of byte 12.
     * (hdr_len of the kernel is the linear part of the buffer, which may hold payload.) */
    headers = header.csum_start;
    if (headers + 13 <= frame)
        headers += (size_t)(bytes[VNET_HEADER + headers + 12] >> 4) * 4;
    if (headers >= frame)
        return frame + WIRE_OVERHEAD;
    segments = (frame - headers + header.gso_size - 1) / header.gso_size;
    return frame + (segments - 1) * headers + segments * WIRE_OVERHEAD;
}

/* The lane of a frame: the same for all frames of a connection. */
static unsigned lane_of(const uint8_t *bytes, size_t length)
{
    const uint8_t *frame = bytes + VNET_HEADER;
    size_t size = length - VNET_HEADER, at = 12, from, until;
    unsigned kind, ports = 0;
    uint32_t hash = 2166136261u;

    if (!line.fair || size < 14)
        return 0;
    kind = (unsigned)frame[at] << 8 | frame[at + 1];
    if (kind == 0x8100 && size >= 18) {
        at += 4;
        kind = (unsigned)frame[at] << 8 | frame[at + 1];
    }
    at += 2;
    from = 0;
    until = 12; /* the addresses of the cards */
    if (kind == 0x0800 && size >= at + 20) {
        size_t header = (size_t)(frame[at] & 15) * 4;
        int fragment = (frame[at + 6] & 0x3f) | frame[at + 7];
        if (!fragment && (frame[at + 9] == 6 || frame[at + 9] == 17) && size >= at + header + 4)
            ports = (unsigned)(at + header);
        from = at + 12;
        until = at + 20;
    } else if (kind == 0x86dd && size >= at + 40) {
        if ((frame[at + 6] == 6 || frame[at + 6] == 17) && size >= at + 44)
            ports = (unsigned)(at + 40);
        from = at + 8;
        until = at + 40;
    }
    for (size_t byte = from; byte < until; byte++)
        hash = (hash ^ frame[byte]) * 16777619u;
    for (size_t byte = ports; ports && byte < ports + 4; byte++)
        hash = (hash ^ frame[byte]) * 16777619u;
    return (hash ^ hash >> 16) % LANES;
}

static void append(struct list *list, struct frame *frame)
{
    frame->next = NULL;
    if (list->last)
        list->last->next = frame;
    else
        list->first = frame;
    list->last = frame;
}

static struct frame *shift(struct list *list)
{
    struct frame *frame = list->first;

    list->first = frame->next;
    if (list->first == NULL)
        list->last = NULL;
    return frame;
}

static void queue_up(struct round *round, struct lane *lane)
{
    lane->next = NULL;
    if (round->last)
        round->last->next = lane;
    else
        round->first = lane;
    round->last = lane;
}

static struct lane *step_out(struct round *round)
{
    struct lane *lane = round->first;

    round->first = lane->next;
    if (round->first == NULL)
        round->last = NULL;
    return lane;
}

static void lose(struct direction *way, struct frame *frame)
{
    way->held -= frame->length;
    way->dropped++;
    free(frame);
}

/* Make room for a frame: whoever has most waiting loses. Returns 0 if that is the frame itself. */
static int make_room(struct direction *way, const struct lane *own, uint64_t wire)
{
    struct lane *fattest = &way->lanes[0];
    struct frame *frame;

    for (int number = 1; number < LANES; number++)
        if (way->lanes[number].wire > fattest->wire)
            fattest = &way->lanes[number];
    if (own->wire + wire >= fattest->wire || fattest->frames.first == fattest->frames.last)
        return 0;
    frame = shift(&fattest->frames);
    fattest->wire -= frame->wire;
    way->waiting -= frame->wire;
    lose(way, frame);
    return 1;
}

/* Take what has come in, and let it wait for the wire. */
static void take(struct direction *way)
{
    static uint8_t bytes[MAX_FRAME];

    for (int count = 0; count < BATCH; count++) {
        ssize_t length = read(way->from, bytes, sizeof bytes);
        uint64_t wire;
        struct frame *frame;
        struct lane *lane;

        if (length < 0) {
            if (errno == EAGAIN || errno == EINTR)
                return;
            fail("read");
        }
        if (length <= VNET_HEADER)
            continue;
        if (line.cut || (line.loss_percent > 0 && chance() * 100 < line.loss_percent) || way->held > MAX_BACKLOG) {
            way->dropped++;
            continue;
        }
        wire = wire_bytes(bytes, (size_t)length);
        lane = &way->lanes[lane_of(bytes, (size_t)length)];
        if (line.rate_mbit_s > 0 && (double)way->waiting * 8 > line.queue_ms * 1e3 * line.rate_mbit_s &&
            !make_room(way, lane, wire)) {
            way->dropped++;
            continue;
        }
        frame = malloc(sizeof *frame + (size_t)length);
        if (frame == NULL)
            fail("malloc");
        frame->due_ns = now_ns();
        frame->wire = wire;
        frame->length = (size_t)length;
        memcpy(frame->bytes, bytes, (size_t)length);
        if (!lane->in_round) {
            lane->in_round = 1;
            lane->credit = TURN_BYTES;
            queue_up(&way->fresh, lane);
        }
        append(&lane->frames, frame);
        lane->wire += wire;
        way->waiting += wire;
        way->held += (uint64_t)length;
    }
}

/* The next frame whose turn it is: deficit round robin, lanes that have just begun before the others. */
static struct frame *next_frame(struct direction *way)
{
    for (;;) {
        struct round *round = way->fresh.first ? &way->fresh : &way->busy;
        struct lane *lane = round->first;
        struct frame *frame;

        if (lane->credit <= 0) {
            lane->credit += TURN_BYTES;
            queue_up(&way->busy, step_out(round));
            continue;
        }
        if (lane->frames.first == NULL) {
            /* Who is done goes to the end first: else one frame at a time would always be the first. */
            step_out(round);
            if (round == &way->fresh && way->busy.first)
                queue_up(&way->busy, lane);
            else
                lane->in_round = 0;
            continue;
        }
        frame = shift(&lane->frames);
        lane->wire -= frame->wire;
        lane->credit -= (int64_t)frame->wire;
        way->waiting -= frame->wire;
        return frame;
    }
}

/* Put on the wire what it is free for, and give each frame its time of arrival. */
static void serve(struct direction *way)
{
    uint64_t now = now_ns();

    while (way->waiting && (line.rate_mbit_s <= 0 || way->wire_free_ns <= now || line.cut)) {
        struct frame *frame = next_frame(way);

        if (line.cut) {
            lose(way, frame);
            continue;
        }
        if (way->wire_free_ns < frame->due_ns || line.rate_mbit_s <= 0)
            way->wire_free_ns = frame->due_ns;
        if (line.rate_mbit_s > 0)
            way->wire_free_ns += (uint64_t)((double)frame->wire * 8e3 / line.rate_mbit_s);
        frame->due_ns = way->wire_free_ns + (uint64_t)((line.delay_ms + line.jitter_ms * chance()) * 1e6);
        if (way->under_way.last && frame->due_ns < way->under_way.last->due_ns)
            frame->due_ns = way->under_way.last->due_ns;
        append(&way->under_way, frame);
        way->bytes += frame->wire;
        way->frames++;
    }
}

/* Hand over what has arrived. Returns 1 when the far side takes nothing now. */
static int give(struct direction *way)
{
    uint64_t now = now_ns();

    while (way->under_way.first && (line.cut || way->under_way.first->due_ns <= now)) {
        struct frame *frame = way->under_way.first;
        if (line.cut)
            way->dropped++;
        else if (write(way->to, frame->bytes, frame->length) < 0) {
            if (errno == EAGAIN || errno == ENOBUFS || errno == EINTR)
                return 1;
            if (errno == EBADFD)
                fail("write");
            way->dropped++; /* e.g. EIO: the far interface is down */
        }
        way->held -= frame->length;
        free(shift(&way->under_way));
    }
    return 0;
}

static void write_counters(const char *path, const struct direction ways[2])
{
    char scratch[512];
    FILE *file;

    if (snprintf(scratch, sizeof scratch, "%s.part", path) >= (int)sizeof scratch)
        return;
    file = fopen(scratch, "w");
    if (file == NULL) {
        fprintf(stderr, "linkem: %s: %s\n", scratch, strerror(errno));
        return;
    }
    for (int i = 0; i < 2; i++)
        fprintf(file, "%s\"%s\": {\"bytes\": %llu, \"frames\": %llu, \"dropped\": %llu, \"held_bytes\": %llu}%s",
                i ? ", " : "{", i ? "b_to_a" : "a_to_b", (unsigned long long)ways[i].bytes,
                (unsigned long long)ways[i].frames, (unsigned long long)ways[i].dropped,
                (unsigned long long)ways[i].held, i ? "}\n" : "");
    if (fclose(file) == 0 && rename(scratch, path) < 0)
        fprintf(stderr, "linkem: %s: %s\n", path, strerror(errno));
}

static void obey(const char *command, const struct direction ways[2])
{
    double value;
    char path[400];

    if (sscanf(command, "rate %lf", &value) == 1 && value >= 0)
        line.rate_mbit_s = value;
    else if (sscanf(command, "delay %lf", &value) == 1 && value >= 0)
        line.delay_ms = value;
    else if (sscanf(command, "jitter %lf", &value) == 1 && value >= 0)
        line.jitter_ms = value;
    else if (sscanf(command, "queue %lf", &value) == 1 && value >= 0)
        line.queue_ms = value;
    else if (sscanf(command, "fair %lf", &value) == 1)
        line.fair = value != 0;
    else if (sscanf(command, "loss %lf", &value) == 1 && value >= 0) {
        line.loss_percent = value;
        set_offload(ways[0].from);
        set_offload(ways[1].from);
    } else if (sscanf(command, "cut %lf", &value) == 1)
        line.cut = value != 0;
    else if (sscanf(command, "stat %399s", path) == 1)
        write_counters(path, ways);
    else
        fprintf(stderr, "linkem: not understood: %s\n", command);
}

/* Read whole lines from the FIFO; a part of a line waits for its rest. */
static void listen_to(int control, const struct direction ways[2])
{
    static char text[4096];
    static size_t used;
    char *start = text, *end;
    ssize_t length = read(control, text + used, sizeof text - 1 - used);

    if (length <= 0)
        return;
    used += (size_t)length;
    text[used] = '\0';
    while ((end = strchr(start, '\n')) != NULL) {
        *end = '\0';
        obey(start, ways);
        start = end + 1;
    }
    used -= (size_t)(start - text);
    if (used == sizeof text - 1)
        used = 0; /* no command is that long */
    memmove(text, start, used);
}

int main(int count, char **words)
{
    static struct direction ways[2];
    struct stat status;
    int first, second, tap_a, tap_b, control;

    if (count != 6) {
        fprintf(stderr, "usage: linkem NETNS_A IFNAME_A NETNS_B IFNAME_B CONTROL\n");
        return 2;
    }
    /* The default slack of 50 us would be added to every delay. */
    prctl(PR_SET_TIMERSLACK, 1);
    if (mkfifo(words[5], 0600) < 0 && errno != EEXIST)
        fail(words[5]);
    /* Opened for writing too: the FIFO never ends, whoever comes and goes. */
    control = open(words[5], O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (control < 0 || fstat(control, &status) < 0)
        fail(words[5]);
    if (!S_ISFIFO(status.st_mode)) {
        fprintf(stderr, "linkem: %s: not a FIFO\n", words[5]);
        return 1;
    }
    first = open(words[1], O_RDONLY | O_CLOEXEC);
    if (first < 0)
        fail(words[1]);
    second = open(words[3], O_RDONLY | O_CLOEXEC);
    if (second < 0)
        fail(words[3]);
    tap_a = open_tap(first, words[2]);
    tap_b = open_tap(second, words[4]);
    close(first);
    close(second);
    ways[0].from = ways[1].to = tap_a;
    ways[0].to = ways[1].from = tap_b;
    puts("up");
    fflush(stdout);

    for (;;) {
        struct pollfd files[3] = {{tap_a, POLLIN, 0}, {tap_b, POLLIN, 0}, {control, POLLIN, 0}};
        uint64_t now, wake;
        struct timespec wait;
        int stuck = 0;

        for (int i = 0; i < 2; i++) {
            serve(&ways[i]);
            stuck |= give(&ways[i]);
        }
        now = now_ns();
        wake = now + IDLE_NS;
        for (int i = 0; i < 2; i++) {
            if (ways[i].under_way.first && ways[i].under_way.first->due_ns < wake)
                wake = ways[i].under_way.first->due_ns;
            if (ways[i].waiting && ways[i].wire_free_ns < wake)
                wake = ways[i].wire_free_ns;
        }
        if (stuck && wake < now + RETRY_NS)
            wake = now + RETRY_NS;
        wait.tv_sec = wake > now ? (time_t)((wake - now) / 1000000000ull) : 0;
        wait.tv_nsec = wake > now ? (long)((wake - now) % 1000000000ull) : 0;
        if (ppoll(files, 3, &wait, NULL) < 0 && errno != EINTR)
            fail("ppoll");
        if ((files[0].revents | files[1].revents) & (POLLERR | POLLHUP | POLLNVAL)) {
            fprintf(stderr, "linkem: a TAP is gone\n");
            return 1;
        }
        take(&ways[0]);
        take(&ways[1]);
        if (files[2].revents & POLLIN)
            listen_to(control, ways);
    }
}
