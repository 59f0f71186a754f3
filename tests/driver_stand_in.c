/* A CUDA driver that does nothing, for tests/driver_lab.py: kernels are compiled and queued for a GPU that is not there.

   cuTile asks this library for every function by name. What it reads back is filled in here; everything else succeeds
   without an effect. Memory of the device is memory of the process, and nothing runs. */

#include <stdlib.h>
#include <string.h>

enum { MAJOR = 75, MINOR = 76, LEAST_BLOCK = 4096 };

static int launches;

int launch_count(void) { return launches; }

static int succeed(void) { return 0; }
static int launch(void) { launches++; return 0; }
static int version(int *found) { *found = 13000; return 0; }
static int one(int *found) { *found = 1; return 0; }
static int none(int *found) { *found = 0; return 0; }
static int attribute(int *found, int which) { *found = which == MAJOR ? 9 : which == MINOR ? 0 : 1024; return 0; }
static int not_capturing(void *stream, int *found) { *found = 0; return 0; }
static int context_number(void *context, unsigned long long *found) { *found = 1; return 0; }
static int handle(void **found) { *found = (void *)32; return 0; }
static int allocate(void **found, size_t size) { *found = malloc(size < LEAST_BLOCK ? LEAST_BLOCK : size); return 0; }
static int error_string(int error, const char **found) { *found = "the driver's stand-in"; return 0; }

static const struct { const char *name; void *function; } FUNCTIONS[] = {
    {"cuDriverGetVersion", version}, {"cuDeviceGetCount", one}, {"cuDeviceGet", none}, {"cuCtxGetDevice", none},
    {"cuDeviceGetAttribute", attribute}, {"cuStreamIsCapturing", not_capturing}, {"cuCtxGetId", context_number},
    {"cuLibraryLoadData", handle}, {"cuLibraryGetKernel", handle}, {"cuMemAlloc", allocate},
    {"cuMemAllocHost", allocate}, {"cuGetErrorString", error_string}, {"cuLaunchKernel", launch},
    {"cuLaunchKernelEx", launch},
};

int cuGetProcAddress_v2(const char *name, void **found, int version, unsigned long long flags, int *status) {
    if (status) *status = 0;
    *found = succeed;
    for (size_t i = 0; i < sizeof FUNCTIONS / sizeof *FUNCTIONS; i++)
        if (!strcmp(name, FUNCTIONS[i].name)) *found = FUNCTIONS[i].function;
    return 0;
}
