/* The least a Modbus client costs: `reader PORT READS REGISTERS CONNECTIONS`, a thread each.
 *
 * Prints the seconds it took and the CPU seconds it used.
 */
#include <modbus/modbus.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static int port, reads, registers;

static double seconds(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static void *work(void *failed)
{
    uint16_t words[125];
    modbus_t *machine = modbus_new_tcp("127.0.0.1", port);
    if (!machine || modbus_connect(machine)) {
        *(int *)failed = 1;
        return NULL;
    }
    modbus_set_slave(machine, 1);
    for (int i = 0; i < reads; i++)
        if (modbus_read_registers(machine, 0, registers, words) != registers)
            *(int *)failed = 1;
    modbus_close(machine);
    modbus_free(machine);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 5)
        return 2;
    int connections = atoi(argv[4]), failed = 0;
    pthread_t thread[64];
    port = atoi(argv[1]);
    registers = atoi(argv[3]);
    reads = atoi(argv[2]) / connections;
    double wall = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
    for (int i = 0; i < connections; i++)
        pthread_create(&thread[i], NULL, work, &failed);
    for (int i = 0; i < connections; i++)
        pthread_join(thread[i], NULL);
    printf("%.6f %.6f\n", seconds(CLOCK_MONOTONIC) - wall, seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu);
    return failed;
}
