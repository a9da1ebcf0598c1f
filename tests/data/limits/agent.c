/* The least that an agent can do: reads every machine once a period, publishes named values.
 *
 * `agent BROKER_PORT PERIOD_US PORT...`: one libmodbus connection a machine, one libmosquitto
 * connection, QoS 1, a message a machine and period. Says once a second how many values it
 * published and how many periods it missed. No checks beyond libmodbus's, no buffer, no signature.
 */
#include <errno.h>
#include <modbus/modbus.h>
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define REGISTERS 102
#define FLOATS 48

static int64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static uint32_t get32(const uint16_t *from)
{
    return (uint32_t)from[0] << 16 | from[1];
}

int main(int argc, char **argv)
{
    int machines = argc - 3;
    if (machines < 1)
        return 2;
    int64_t period_ns = atoll(argv[2]) * 1000;
    modbus_t **machine = calloc(machines, sizeof *machine);
    mosquitto_lib_init();
    struct mosquitto *broker = mosquitto_new(NULL, true, NULL);
    mosquitto_int_option(broker, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_max_inflight_messages_set(broker, 1000);
    if (mosquitto_connect(broker, "127.0.0.1", atoi(argv[1]), 60)) {
        fprintf(stderr, "no broker\n");
        return 1;
    }
    mosquitto_loop_start(broker);
    for (int i = 0; i < machines; i++) {
        machine[i] = modbus_new_tcp("127.0.0.1", atoi(argv[3 + i]));
        if (modbus_connect(machine[i])) {
            fprintf(stderr, "%s: %s\n", argv[3 + i], modbus_strerror(errno));
            return 1;
        }
        modbus_set_slave(machine[i], 1);
    }
    int64_t slot = now_ns(CLOCK_MONOTONIC) + period_ns, said = slot;
    long values = 0, missed = 0;
    for (;;) {
        int64_t wait = slot - now_ns(CLOCK_MONOTONIC);
        if (wait > 0) {
            struct timespec left = {wait / 1000000000, wait % 1000000000};
            nanosleep(&left, NULL);
        }
        for (int i = 0; i < machines; i++) {
            uint16_t words[REGISTERS];
            char text[4096], topic[32];
            if (modbus_read_registers(machine[i], 0, REGISTERS, words) != REGISTERS)
                continue;
            uint64_t stamp = (uint64_t)get32(words) << 32 | get32(words + 2);
            int used = snprintf(text, sizeof text, "{\"stamp_ns\":%llu,\"energy_wh\":%u",
                                (unsigned long long)stamp, get32(words + 4));
            for (int k = 0; k < FLOATS; k++) {
                uint32_t bits = get32(words + 6 + 2 * k);
                float value;
                memcpy(&value, &bits, sizeof value);
                used += snprintf(text + used, sizeof text - used, ",\"p%d_w\":%.1f", k, value);
            }
            text[used++] = '}';
            snprintf(topic, sizeof topic, "limit/%d", i);
            mosquitto_publish(broker, NULL, topic, used, text, 1, false);
            values += FLOATS + 2;
        }
        slot += period_ns;
        int64_t now = now_ns(CLOCK_MONOTONIC);
        while (slot + period_ns <= now) { /* a whole period late */
            slot += period_ns;
            missed++;
        }
        if (now >= said) {
            printf("%ld %ld\n", values, missed);
            fflush(stdout);
            said = now + 1000000000;
        }
    }
}
