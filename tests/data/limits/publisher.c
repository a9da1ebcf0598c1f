/* The least a publication of QoS 1 costs: `publisher PORT COUNT BYTES WINDOW`, MQTT 5, one thread.
 *
 * Prints the seconds it took until the last acknowledgement, and the CPU seconds it used.
 */
#include <mosquitto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int acknowledged, connected;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void on_publish(struct mosquitto *m, void *data, int mid)
{
    (void)m, (void)data, (void)mid;
    acknowledged++;
}

static void on_connect(struct mosquitto *m, void *data, int reason)
{
    (void)m, (void)data;
    connected = reason == 0 ? 1 : -1;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int count = atoi(argv[2]), size = atoi(argv[3]), window = atoi(argv[4]), sent = 0;
    char *payload = malloc(size);
    memset(payload, 'x', size);
    mosquitto_lib_init();
    struct mosquitto *broker = mosquitto_new(NULL, true, NULL);
    mosquitto_int_option(broker, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
    mosquitto_max_inflight_messages_set(broker, window);
    mosquitto_publish_callback_set(broker, on_publish);
    mosquitto_connect_callback_set(broker, on_connect);
    if (mosquitto_connect(broker, "127.0.0.1", atoi(argv[1]), 60))
        return 1;
    while (!connected)
        mosquitto_loop(broker, 100, 1);
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    while (acknowledged < count) {
        while (sent < count && sent - acknowledged < window) {
            mosquitto_publish(broker, NULL, "limit/batch", size, payload, 1, false);
            sent++;
        }
        if (mosquitto_loop(broker, 100, 1))
            return 1;
    }
    printf("%.6f %.6f\n", seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return 0;
}
