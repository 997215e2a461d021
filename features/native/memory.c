/* Bytes in memory as libsndfile wants a file: the five functions of its SF_VIRTUAL_IO.

   It asks some sixty times for each FLAC file; in Python each answer costs a microsecond and the
   interpreter's lock. */

#include <string.h>

#include "frontend.h"

/* `Place` of memory.py. */
typedef struct {
    const char *bytes;
    int64_t size, at;
} Place;

EXPORT int64_t features_memory_get_filelen(void *place) { return ((Place *)place)->size; }

EXPORT int64_t features_memory_tell(void *place) { return ((Place *)place)->at; }

/* whence: 0 from the begin, 1 from here, 2 from the end. Where it would leave the file it stays. */
EXPORT int64_t features_memory_seek(int64_t offset, int whence, void *place)
{
    Place *p = place;
    int64_t from = whence == 0 ? 0 : whence == 1 ? p->at : p->size;
    if (offset >= -from && offset <= INT64_MAX - from) p->at = from + offset;
    return p->at;
}

EXPORT int64_t features_memory_read(void *to, int64_t count, void *place)
{
    Place *p = place;
    int64_t left = p->size - p->at;
    if (count > left) count = left;
    if (count <= 0) return 0;
    memcpy(to, p->bytes + p->at, (size_t)count);
    p->at += count;
    return count;
}

EXPORT int64_t features_memory_write(const void *from, int64_t count, void *place)
{
    (void)from, (void)count, (void)place;
    return 0;
}
