/* A Modbus RTU server, unit 17: register n holds n (input: 1000 + n), every third bit is set. */
#include <errno.h>
#include <modbus/modbus.h>
#include <stdio.h>

#define SIZE 100

int main(int argc, char **argv)
{
    uint8_t query[MODBUS_RTU_MAX_ADU_LENGTH];
    modbus_t *line = argc == 2 ? modbus_new_rtu(argv[1], 115200, 'N', 8, 1) : NULL;
    modbus_mapping_t *map = modbus_mapping_new(SIZE, SIZE, SIZE, SIZE);

    if (line == NULL || map == NULL || modbus_set_slave(line, 17) || modbus_connect(line)) {
        fprintf(stderr, "%s\n", modbus_strerror(errno));
        return 1;
    }
    for (int i = 0; i < SIZE; i++) {
        map->tab_bits[i] = map->tab_input_bits[i] = i % 3 == 0;
        map->tab_registers[i] = i;
        map->tab_input_registers[i] = 1000 + i;
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int size = modbus_receive(line, query);
        if (size > 0)
            modbus_reply(line, query, size, map);
        else if (size == -1 && errno == EIO)
            return 0;
    }
}
