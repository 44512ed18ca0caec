/* Unpacks what WOF stores with libwim, for the benchmark.
 *
 *     wimlib KIND CHUNK BYTES FILE
 *
 * KIND is libwim's number of the compression, CHUNK the size of a chunk, BYTES that of the whole unpacked.
 * FILE holds the ends of all chunks but the last, 32 bits each, then the chunks.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int wimlib_create_decompressor(int kind, size_t most, void **decompressor);
int wimlib_decompress(const void *packed, size_t packed_size, void *plain, size_t plain_size, void *decompressor);

int main(int count, char **words) {
    if (count != 5) return 2;
    size_t chunk = strtoull(words[2], NULL, 10), bytes = strtoull(words[3], NULL, 10);
    FILE *file = fopen(words[4], "rb");
    if (!file || fseek(file, 0, SEEK_END)) return 2;
    size_t stored = (size_t)ftell(file);
    rewind(file);
    uint8_t *packed = malloc(stored), *plain = malloc(chunk);
    void *decompressor;
    if (!packed || !plain || fread(packed, 1, stored, file) != stored) return 2;
    if (wimlib_create_decompressor(atoi(words[1]), chunk, &decompressor)) return 2;

    size_t chunks = (bytes + chunk - 1) / chunk, table = 4 * (chunks - 1), begin = 0;
    for (size_t index = 0; index < chunks; index++) {
        uint32_t entry = (uint32_t)(stored - table);
        if (index + 1 < chunks) memcpy(&entry, packed + 4 * index, 4);
        size_t want = index + 1 < chunks ? chunk : bytes - index * chunk;
        const uint8_t *from = packed + table + begin;
        if (entry - begin == want) memcpy(plain, from, want);
        else if (wimlib_decompress(from, entry - begin, plain, want, decompressor)) return 1;
        begin = entry;
    }
    return 0;
}
