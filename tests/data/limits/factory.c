/* Many Modbus TCP machines in one process: `factory PORT...`, one machine a port, any unit number.
 *
 * 102 holding registers: the instant of the answer (CLOCK_REALTIME in ns, uint64), a counter of the
 * answers (uint32), and 48 float32 that waver. The limit of what a client can be given: libmodbus.
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define REGISTERS 102
#define FLOATS 48
#define EVENTS 256

static void put32(uint16_t *to, uint32_t value)
{
    to[0] = value >> 16;
    to[1] = value & 0xffff;
}

static void refresh(modbus_mapping_t *map, uint32_t answers)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t ns = (uint64_t)now.tv_sec * 1000000000u + now.tv_nsec;
    put32(map->tab_registers, ns >> 32);
    put32(map->tab_registers + 2, ns & 0xffffffffu);
    put32(map->tab_registers + 4, answers);
    for (int i = 0; i < FLOATS; i++) {
        float value = 200.0f + i + 0.1f * ((answers * 7 + i) % 11);
        uint32_t bits;
        memcpy(&bits, &value, sizeof bits);
        put32(map->tab_registers + 6 + 2 * i, bits);
    }
}

static int add(int poll, int descriptor)
{
    struct epoll_event event = {.events = EPOLLIN, .data.fd = descriptor};
    return epoll_ctl(poll, EPOLL_CTL_ADD, descriptor, &event);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max < 65536 ? files.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &files);

    int machines = argc - 1, poll = epoll_create1(0), size = (int)files.rlim_cur;
    modbus_t **of = calloc(size, sizeof *of);     /* by descriptor: the machine it belongs to */
    char *listens = calloc(size, 1);              /* by descriptor: whether it is a listener */
    uint32_t *answers = calloc(size, sizeof *answers);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, REGISTERS, 0);
    if (machines < 1 || poll < 0 || !of || !listens || !answers || !map)
        return 1;
    for (int i = 0; i < machines; i++) {
        modbus_t *machine = modbus_new_tcp("127.0.0.1", atoi(argv[1 + i]));
        int listener = machine ? modbus_tcp_listen(machine, 16) : -1;
        if (listener < 0 || add(poll, listener)) {
            fprintf(stderr, "%s: %s\n", argv[1 + i], modbus_strerror(errno));
            return 1;
        }
        of[listener] = machine;
        listens[listener] = 1;
    }
    puts("ready");
    fflush(stdout);

    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    struct epoll_event events[EVENTS];
    for (;;) {
        int count = epoll_wait(poll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            int descriptor = events[i].data.fd;
            modbus_t *machine = of[descriptor];
            if (listens[descriptor]) {
                int listener = descriptor, accepted = modbus_tcp_accept(machine, &listener);
                if (accepted >= 0 && accepted < size && !add(poll, accepted))
                    of[accepted] = machine;
                continue;
            }
            modbus_set_socket(machine, descriptor);
            int length = modbus_receive(machine, query);
            if (length > 0) {
                refresh(map, ++answers[descriptor]);
                modbus_reply(machine, query, length, map);
            } else if (length < 0) {
                close(descriptor);
            }
        }
    }
}
