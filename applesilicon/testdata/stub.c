// A library that stands for CoreFoundation, IOReport, IOKit and the system
// library of a Mac. It counts its objects, and ends the program when one is
// released that is gone. It is written from the public declarations of these
// functions; what it answers is made up.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

typedef struct object {
	uint32_t magic, type;
	long refs;
	long n;              // bytes, elements, or a number's value
	char *bytes;         // of strings and data
	struct object **at;  // of arrays; of dictionaries: key, value, key, value
	void *spare;
} object;

enum { STRING = 1, DICT, ARRAY, DATA, NUMBER, BOOLEAN, SUBSCRIPTION };
#define ALIVE 0xC0FFEEu

static long live;
long stub_live(void) { return live; }

static object *check(object *o) {
	if (!o || o->magic != ALIVE || o->refs <= 0) {
		fprintf(stderr, "stub: an object that is gone is used\n");
		abort();
	}
	return o;
}

static object *make(uint32_t type) {
	object *o = calloc(1, sizeof *o);
	o->magic = ALIVE, o->type = type, o->refs = 1;
	live++;
	return o;
}

static object *keep(object *o) { return check(o)->refs++, o; }

void CFRelease(object *o) {
	check(o);
	if (--o->refs) return;
	for (long i = 0; i < (o->type == ARRAY ? o->n : o->type == DICT ? 2 * o->n : 0); i++) CFRelease(o->at[i]);
	free(o->at), free(o->bytes);
	o->at = NULL, o->bytes = NULL;
	o->magic = 0xDEAD;
	live--;
	static object *grave[4096]; // a freed object stays recognizable for a while
	static long next;
	free(grave[next]);
	grave[next] = o;
	next = (next + 1) % 4096;
}

uint64_t CFGetTypeID(object *o) { return check(o)->type; }
uint64_t CFStringGetTypeID(void) { return STRING; }
uint64_t CFDictionaryGetTypeID(void) { return DICT; }
uint64_t CFArrayGetTypeID(void) { return ARRAY; }
uint64_t CFDataGetTypeID(void) { return DATA; }
uint64_t CFNumberGetTypeID(void) { return NUMBER; }
uint64_t CFBooleanGetTypeID(void) { return BOOLEAN; }

static object *typed(object *o, uint32_t type) {
	if (check(o)->type != type) {
		fprintf(stderr, "stub: an object of type %u is used as %u\n", o->type, type);
		abort();
	}
	return o;
}

uint8_t CFBooleanGetValue(object *o) { return typed(o, BOOLEAN)->n != 0; }

static object *string(const char *s) {
	object *o = make(STRING);
	o->bytes = strdup(s);
	return o;
}

object *CFStringCreateWithCString(void *alloc, const char *s, uint32_t encoding) {
	return alloc || encoding != 0x08000100 ? NULL : string(s);
}

uint8_t CFStringGetCString(object *o, char *out, long size, uint32_t encoding) {
	typed(o, STRING);
	if (encoding != 0x08000100 || (long)strlen(o->bytes) >= size) return 0;
	strcpy(out, o->bytes);
	return 1;
}

object *CFDictionaryGetValue(object *d, object *key) {
	typed(d, DICT), typed(key, STRING);
	for (long i = 0; i < d->n; i++)
		if (!strcmp(d->at[2 * i]->bytes, key->bytes)) return d->at[2 * i + 1];
	return NULL;
}

void CFDictionarySetValue(object *d, object *key, object *value) {
	typed(d, DICT), keep(value);
	for (long i = 0; i < d->n; i++)
		if (!strcmp(d->at[2 * i]->bytes, typed(key, STRING)->bytes)) {
			CFRelease(d->at[2 * i + 1]);
			d->at[2 * i + 1] = value;
			return;
		}
	d->at = realloc(d->at, (2 * d->n + 2) * sizeof *d->at);
	d->at[2 * d->n] = keep(key), d->at[2 * d->n + 1] = value;
	d->n++;
}

object *CFDictionaryCreateMutableCopy(void *alloc, long capacity, object *from) {
	object *d = make(DICT);
	for (long i = 0; i < typed(from, DICT)->n; i++) CFDictionarySetValue(d, from->at[2 * i], from->at[2 * i + 1]);
	return d;
}

int kCFTypeArrayCallBacks[10];

object *CFArrayCreateMutable(void *alloc, long capacity, const void *callbacks) {
	if (callbacks != kCFTypeArrayCallBacks) abort(); // else elements would not be kept
	return make(ARRAY);
}
void CFArrayAppendValue(object *a, object *v) {
	typed(a, ARRAY);
	if ((a->n & (a->n - 1)) == 0) a->at = realloc(a->at, (a->n ? 2 * a->n : 1) * sizeof *a->at);
	a->at[a->n++] = keep(v);
}
long CFArrayGetCount(object *a) { return typed(a, ARRAY)->n; }
object *CFArrayGetValueAtIndex(object *a, long i) {
	if (i < 0 || i >= typed(a, ARRAY)->n) abort();
	return a->at[i];
}
uint8_t CFNumberGetValue(object *o, long type, int64_t *out) { return type == 4 ? (*out = typed(o, NUMBER)->n, 1) : 0; }
long CFDataGetLength(object *o) { return typed(o, DATA)->n; }
char *CFDataGetBytePtr(object *o) { return typed(o, DATA)->bytes; }

static void put(object *d, const char *key, object *value) { // takes value over
	object *k = string(key);
	CFDictionarySetValue(d, k, value);
	CFRelease(k), CFRelease(value);
}
static void append(object *a, object *v) { CFArrayAppendValue(a, v), CFRelease(v); }
static object *number(long v) { object *o = make(NUMBER); return o->n = v, o; }
static object *data(const void *b, long n) {
	object *o = make(DATA);
	o->bytes = malloc(n ? n : 1), o->n = n;
	memcpy(o->bytes, b, n);
	return o;
}

// --- the machine: 1 tick is 125/3 ns; its time is the test's, else the real one.

static uint64_t fixed;
void stub_time(uint64_t ticks) { fixed = ticks; }
uint64_t mach_absolute_time(void) {
	if (fixed) return fixed;
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec * 1000000000ull + t.tv_nsec) * 3 / 125;
}
int mach_timebase_info(uint32_t *out) { return out[0] = 125, out[1] = 3, 0; }

static long extra; // more cores, to read many channels
static int lying;  // raw elements that disagree with the getters
static int level, notify_status, load_calls;
static int fans = 2;
static float celsius; // of all sensors; 0: of each its own
void stub_smc(int f, int c) { fans = f, celsius = c; }
void stub_extra(long n) { extra = n; }
void stub_lying(int on) { lying = on; }
void stub_thermal(int l, int status) { level = l, notify_status = status; }

// --- IOReport

static const char *const group_names[] = {"CPU Stats", "GPU Stats", "Energy Model", "CPU Stats", "ANE"};
static const char *const subgroup_names[] = {"CPU Core Performance States", "GPU Performance States", "", "CPU Complex Performance States", "IOP State"};
enum { CORE, GRAPHICS, COMPLEX, NEURAL };
static const char *const state_names[][16] = {
	{"DOWN", "IDLE", "V0P3", "V1P2", "V2P1", "V3P0"},
	{"OFF", "P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9", "P10", "P11", "P12", "P13", "P14", "P15"},
	{"DOWN", "IDLE", "V0P3", "V1P2", "V2P1", "V3P0"},
	{"Off", "Running"},
};
static const struct { const char *name, *unit; double watts, scale; } energy[] = {
	{"CPU Energy", "mJ      ", 10, 1e3}, {"GPU Energy", "nJ      ", 5, 1e9}, {"ANE0", "mJ      ", 1, 1e3}, {"DRAM0", "mJ      ", 2, 1e3},
	{"PCPU", "mJ      ", 4, 1e3}, {"PCPU0DTL", "mJ      ", 1, 1e3},
};

// A channel is a dictionary with its facts, and in a sample its elements.
static object *make_channel(int group, const char *name, const char *unit, int format, long states, int kind) {
	object *c = make(DICT);
	put(c, "group", string(group_names[group]));
	put(c, "subgroup", string(subgroup_names[group]));
	put(c, "name", string(name));
	put(c, "unit", string(unit));
	put(c, "format", number(format));
	put(c, "states", number(states));
	put(c, "kind", number(kind));
	return c;
}

static object *get(object *d, const char *key) {
	for (long i = 0; i < typed(d, DICT)->n; i++)
		if (!strcmp(d->at[2 * i]->bytes, key)) return d->at[2 * i + 1];
	return NULL;
}

object *IOReportCopyChannelsInGroup(object *group, object *sub, uint64_t a, uint64_t b, uint64_t c) {
	object *list = make(ARRAY), *d;
	char name[64];
	const char *g = typed(group, STRING)->bytes;
	if (!strcmp(g, "CPU Stats") && sub && !strcmp(typed(sub, STRING)->bytes, subgroup_names[3])) {
		static const char *const complexes[] = {"ECPU", "ECPM", "PCPU", "PCPM", "PCPM_IDLE"};
		for (int i = 0; i < 5; i++) append(list, make_channel(3, complexes[i], "24Mticks", 2, 6, COMPLEX));
	} else if (!strcmp(g, "ANE")) {
		append(list, make_channel(4, "status", "24Mticks", 2, 2, NEURAL));
	} else if (!strcmp(g, "CPU Stats")) {
		if (!sub || strcmp(typed(sub, STRING)->bytes, subgroup_names[0])) abort();
		append(list, make_channel(0, "ECPU0", "24Mticks", 2, 6, 0));
		append(list, make_channel(0, "PCPU0", "24Mticks", 2, 6, 0));
		append(list, make_channel(0, "PCPU1", "24Mticks", 2, 6, 0));
		for (long i = 0; i < extra; i++) {
			sprintf(name, "DIE_%ld_PCPU%ld_CPU%ld", i / 100, i / 10 % 10, i % 10);
			append(list, make_channel(0, name, "24Mticks", 2, 6, 0));
		}
	} else if (!strcmp(g, "GPU Stats")) {
		append(list, make_channel(1, "GPUPH", "24Mticks", 2, 16, GRAPHICS));
		append(list, make_channel(1, "PWRCTRL", "24Mticks", 2, 16, GRAPHICS));
	} else if (!strcmp(g, "Energy Model")) {
		for (int i = 0; i < 6; i++) append(list, make_channel(2, energy[i].name, energy[i].unit, 1, 0, i));
	} else {
		CFRelease(list);
		return NULL;
	}
	d = make(DICT);
	put(d, "IOReportChannels", list);
	return d;
}

object *IOReportCreateSubscription(void *a, object *want, object **got, uint64_t id, void *b) {
	typed(get(typed(want, DICT), "IOReportChannels"), ARRAY);
	*got = CFDictionaryCreateMutableCopy(NULL, 0, want);
	return make(SUBSCRIPTION);
}

typedef struct { uint64_t provider, channel, type, time; int64_t v[4]; } element;

// How long a state was held: of 100 ticks, a core is down for 20, idle for 40,
// and 10 in each of its 4 speeds; its complex had the second of these only. The
// GPU is off for 25 and uses 2 of its 15 speeds. The ANE's controller ran for 30.
static int64_t residency(long kind, long states, long i, uint64_t now) {
	static const int of[][16] = {{20, 40, 10, 10, 10, 10}, {25, 25, 50}, {20, 40, 0, 40}, {70, 30}};
	return now / 100 * of[kind][i];
}
static int64_t worth(long kind, uint64_t now) {
	return (int64_t)(energy[kind].watts * energy[kind].scale * ((double)now * 125 / 3e9));
}

object *IOReportCreateSamples(object *sub, object *channels, void *opt) {
	typed(sub, SUBSCRIPTION);
	object *from = get(typed(channels, DICT), "IOReportChannels"), *list = make(ARRAY), *d = make(DICT);
	uint64_t now = mach_absolute_time();
	object *raw = string("RawElements"), *at = string("time");
	element e[64];
	for (long i = 0; i < from->n; i++) {
		object *c = CFDictionaryCreateMutableCopy(NULL, 0, from->at[i]), *v;
		long kind = get(c, "kind")->n, states = get(c, "states")->n, n = states ? states : 1;
		memset(e, 0, sizeof e);
		for (long j = 0; j < n; j++) {
			e[j].channel = 1000 + i, e[j].time = now;
			if (states) e[j].v[0] = j, e[j].v[lying ? 1 : 2] = residency(kind, states, j, now);
			else e[j].v[lying ? 1 : 0] = worth(kind, now);
		}
		v = data(e, n * sizeof *e);
		CFDictionarySetValue(c, raw, v), CFRelease(v);
		v = number(now);
		CFDictionarySetValue(c, at, v), CFRelease(v);
		append(list, c);
	}
	CFRelease(raw), CFRelease(at);
	put(d, "IOReportChannels", list);
	return d;
}

object *IOReportChannelGetGroup(object *c) { return get(c, "group"); }
object *IOReportChannelGetSubGroup(object *c) { return get(c, "subgroup"); }
object *IOReportChannelGetChannelName(object *c) { return get(c, "name"); }
object *IOReportChannelGetUnitLabel(object *c) { return get(c, "unit"); }
int32_t IOReportChannelGetFormat(object *c) { return get(c, "format")->n; }
int64_t IOReportSimpleGetIntegerValue(object *c, int32_t *err) { return worth(get(c, "kind")->n, get(c, "time")->n); }
int32_t IOReportStateGetCount(object *c) { return get(c, "states")->n; }
object *IOReportStateGetNameForIndex(object *c, int32_t i) {
	static object *names[4][16]; // belongs to the library
	long kind = get(c, "kind")->n;
	if (!names[kind][i]) names[kind][i] = string(state_names[kind][i]), live--;
	return names[kind][i];
}
int64_t IOReportStateGetResidency(object *c, int32_t i) {
	return residency(get(c, "kind")->n, get(c, "states")->n, i, get(c, "time")->n);
}

// --- IOKit: handles are numbers; each is counted as an object, too.

static char handle_name[64][32];
static uint8_t handle_on[64];
static int iterator_left[64];
static uint32_t handle(const char *name) {
	for (uint32_t i = 1; i < 64; i++)
		if (!handle_on[i]) return handle_on[i] = 1, live++, strcpy(handle_name[i], name), i;
	abort();
}
int32_t IOObjectRelease(uint32_t h) {
	if (h == 0 || h >= 64 || !handle_on[h]) {
		fprintf(stderr, "stub: handle %u is gone\n", h);
		abort();
	}
	return handle_on[h] = 0, live--, 0;
}

object *IOServiceMatching(const char *name) { return string(name); }
int32_t IOServiceGetMatchingServices(uint32_t port, object *match, uint32_t *it) {
	*it = handle(typed(match, STRING)->bytes);
	iterator_left[*it] = strcmp(match->bytes, "AppleSMC") ? 1 : 2;
	CFRelease(match); // it is taken over
	return 0;
}
int32_t IORegistryEntryGetChildIterator(uint32_t h, const char *plane, uint32_t *it) {
	if (!handle_on[h] || strcmp(plane, "IOService")) return -1;
	*it = handle(strcmp(handle_name[h], "AGXAccelerator") ? "" : "AGXDeviceUserClient");
	iterator_left[*it] = *handle_name[*it] ? 3 : 0;
	return 0;
}
uint32_t IOIteratorNext(uint32_t it) {
	if (!handle_on[it]) abort();
	if (iterator_left[it]-- <= 0) return 0;
	const char *class = handle_name[it];
	static const char *const clients[] = {"secret client", "client 1", "client 2"};
	if (!strcmp(class, "AGXDeviceUserClient")) return handle(clients[iterator_left[it]]);
	if (!strcmp(class, "AppleARMIODevice")) return handle("pmgr");
	if (!strcmp(class, "AppleSMC")) return handle(iterator_left[it] ? "AppleSMC" : "AppleSMCKeysEndpoint");
	return handle(class);
}
int32_t IORegistryEntryGetName(uint32_t h, char *out) { return handle_on[h] ? strcpy(out, handle_name[h]), 0 : -1; }

object *IORegistryEntryCreateCFProperty(uint32_t h, object *key, void *a, uint32_t o) {
	if (!handle_on[h]) abort();
	const char *k = typed(key, STRING)->bytes;
	static const uint32_t slow[] = {600000000, 700, 1000000000, 750, 1500000000, 800, 2000000000, 900};
	static const uint32_t fast[] = {700000000, 700, 1700000000, 750, 2700000000u, 800, 3700000000u, 900};
	static const uint32_t gpu[] = {0, 0, 400000000, 700, 1000000000, 800};
	if (!strcmp(handle_name[h], "pmgr")) {
		if (!strcmp(k, "voltage-states1-sram")) return data(slow, sizeof slow);
		if (!strcmp(k, "voltage-states5-sram")) return data(fast, sizeof fast);
		if (!strcmp(k, "voltage-states9")) return data(gpu, sizeof gpu);
	}
	if (!strcmp(handle_name[h], "AGXAccelerator")) {
		if (!strcmp(k, "gpu-core-count")) return number(40);
		if (!strcmp(k, "PerformanceStatistics")) {
			object *d = make(DICT);
			put(d, "Device Utilization %", number(74));
			put(d, "In use system memory", number(3l << 30));
			return d;
		}
	}
	// Two connections of this program to the GPU, with two interfaces each, and
	// one of another program.
	if (strstr(handle_name[h], "client")) {
		int other = !strncmp(handle_name[h], "secret", 6);
		char creator[64];
		sprintf(creator, "pid %d, SECRET-name", other ? (int)getpid() * 10 : (int)getpid());
		if (!strcmp(k, "IOUserClientCreator")) return string(creator);
		if (!strcmp(k, "AppUsage")) {
			object *list = make(ARRAY);
			for (int i = 0; i < 2; i++) {
				object *d = make(DICT);
				put(d, "API", string("Metal"));
				put(d, "accumulatedGPUTime", number(other ? 77 : 750000000));
				append(list, d);
			}
			return list;
		}
	}
	if (!strcmp(k, "IOPlatformSerialNumber")) return string("SECRET-SERIAL");
	return NULL;
}

uint32_t mach_task_self_ = 259;
int32_t IOServiceOpen(uint32_t h, uint32_t task, uint32_t type, uint32_t *conn) {
	if (!handle_on[h] || task != 259 || type) return -1;
	*conn = handle("connection");
	return 0;
}
int32_t IOServiceClose(uint32_t conn) { return IOObjectRelease(conn); }
int32_t IOConnectCallStructMethod(uint32_t conn, uint32_t selector, const uint8_t *in, size_t n, uint8_t *out, size_t *m) {
	if (!handle_on[conn] || selector != 2 || n != 80 || *m != 80) return -1;
	static const struct { char name[5], type[5]; } keys[] = {{"#KEY", "ui32"}, {"F0Ac", "flt "}, {"F1Ac", "flt "}, {"FNum", "ui8 "},
		{"PSTR", "flt "}, {"Te05", "flt "}, {"Tg0D", "flt "}, {"Tp01", "flt "}, {"Tp09", "flt "}, {"Tp0X", "ioft"}, {"Ts0S", "flt "}};
	const unsigned count = sizeof keys / sizeof *keys;
	uint32_t key, size, index, type;
	memcpy(&key, in, 4), memcpy(&size, in + 28, 4), memcpy(&index, in + 44, 4);
	if (in[42] == 8) {
		if (index >= count) return out[40] = 132, 0;
		const uint8_t *n = (const uint8_t *)keys[index].name;
		key = n[0] << 24 | n[1] << 16 | n[2] << 8 | n[3];
		return memcpy(out, &key, 4), 0;
	}
	char name[5] = {key >> 24, key >> 16, key >> 8, key};
	if (!fans && name[0] == 'F') return out[40] = 132, 0;
	for (unsigned i = 0; i < count; i++) {
		if (strcmp(name, keys[i].name)) continue;
		const uint8_t *t = (const uint8_t *)keys[i].type;
		uint32_t bytes = !strcmp(keys[i].type, "ui8 ") ? 1 : 4;
		if (in[42] == 9) {
			type = t[0] << 24 | t[1] << 16 | t[2] << 8 | t[3];
			memcpy(out + 28, &bytes, 4), memcpy(out + 32, &type, 4);
			return 0;
		}
		if (in[42] != 5 || size != bytes) return -1;
		if (name[0] == '#') return out[51] = count, 0; // big endian
		if (!strcmp(name, "FNum")) return out[48] = fans, 0;
		float v = name[0] == 'P' ? 42.5f : name[0] == 'F' ? 1200 + 100 * (name[1] - '0') : celsius ? celsius : name[1] == 'g' ? 55 : name[1] == 's' ? 33 : name[1] == 'e' ? 40 : 70;
		memcpy(out + 48, &v, 4);
		return 0;
	}
	return out[40] = 132, 0;
}

object *IOPMCopyActivePMPreferences(void) {
	object *d = make(DICT), *ac = make(DICT);
	put(ac, "LowPowerMode", number(2));
	put(d, "AC Power", ac);
	put(d, "Battery Power", make(DICT));
	return d;
}
object *IOPSCopyPowerSourcesInfo(void) { return make(DICT); }
object *IOPSCopyPowerSourcesList(object *info) {
	object *a = make(ARRAY), *d = make(DICT);
	put(d, "Current Capacity", number(80)), put(d, "Max Capacity", number(100));
	append(a, d);
	return typed(info, DICT), a;
}
object *IOPSGetPowerSourceDescription(object *info, object *source) { return typed(info, DICT), typed(source, DICT); }
object *IOPSGetProvidingPowerSourceType(object *info) {
	static object *ac;
	if (!ac) ac = string("AC Power"), live--;
	return typed(info, DICT), ac;
}

// --- the system library

int32_t sysctlbyname(const char *name, void *out, size_t *n, void *in, size_t m) {
	static const struct { const char *name, *text; uint64_t v; int size; } known[] = {
		{"machdep.cpu.brand_string", "Apple M3 Max"}, {"hw.model", "Mac15,9"}, {"kern.osproductversion", "26.4"}, {"kern.osversion", "25E123"},
		{"hw.perflevel0.name", "Performance"}, {"hw.perflevel1.name", "Efficiency"},
		{"hw.optional.arm64", 0, 1, 4}, {"kern.hv_vmm_present", 0, 0, 4}, {"hw.memsize", 0, 128ull << 30, 8}, {"hw.pagesize", 0, 16384, 8},
		{"hw.physicalcpu", 0, 16, 4}, {"hw.logicalcpu", 0, 16, 4}, {"hw.nperflevels", 0, 2, 4},
		{"hw.tbfrequency", 0, 24000000, 8}, {"iogpu.wired_limit_mb", 0, 98304, 4},
		{"kern.hostname", "SECRET-host"}, {"hw.perflevel0.physicalcpu", 0, 12, 4}, {"hw.perflevel1.physicalcpu", 0, 4, 4}, {"kern.memorystatus_vm_pressure_level", 0, 1, 4},
	};
	if (in || m) abort();
	for (unsigned i = 0; i < sizeof known / sizeof *known; i++)
		if (!strcmp(name, known[i].name)) {
			size_t size = known[i].text ? strlen(known[i].text) + 1 : known[i].size;
			if (*n < size) return -1;
			memcpy(out, known[i].text ? (const void *)known[i].text : (const void *)&known[i].v, *n = size);
			return 0;
		}
	if (!strcmp(name, "vm.swapusage") && *n >= 32) {
		uint64_t v[4] = {4ull << 30, 3ull << 30, 1ull << 30, 16384};
		memcpy(out, v, *n = 32);
		return 0;
	}
	return -1;
}
uint32_t mach_host_self(void) { return 515; }
int32_t host_statistics64(uint32_t host, int32_t flavor, uint32_t *out, uint32_t *count) {
	if (host != 515) return 4;
	if (flavor == 3 && *count >= 4) { // 30 of 100 ticks at work
		load_calls++;
		out[0] = 20 * load_calls, out[1] = 9 * load_calls, out[2] = 70 * load_calls, out[3] = load_calls;
		return *count = 4, 0;
	}
	if (flavor == 4 && *count >= 40) { // larger than the 38 words of older systems
		memset(out, 0xEE, 160);
		out[0] = 1000, out[1] = 2000000, out[2] = 3000, out[3] = 500000;
		return *count = 40, 0;
	}
	return 4;
}
int32_t host_page_size(uint32_t host, uint64_t *out) { return host == 515 ? *out = 16384, 0 : 4; }
int32_t proc_pid_rusage(int32_t pid, int32_t flavor, uint8_t *out) {
	if (pid != getpid() || flavor) return -1;
	uint64_t footprint = 46ull << 30;
	memset(out, 0xEE, 96);
	return memcpy(out + 72, &footprint, 8), 0;
}
uint32_t notify_register_check(const char *name, int *token) {
	if (strcmp(name, "com.apple.system.thermalpressurelevel")) return 1;
	return live++, *token = 7, 0;
}
uint32_t notify_get_state(int token, uint64_t *state) { return token == 7 ? *state = level, notify_status : 2; }
uint32_t notify_cancel(int token) {
	if (token != 7) abort();
	return live--, 0;
}
