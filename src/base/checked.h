/* Checked size arithmetic: every size that comes from a file, a flag or a network goes through here.
 * Each function returns false on overflow and then leaves *out alone. */
#ifndef HTH_BASE_CHECKED_H
#define HTH_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool hth_add_size(size_t a, size_t b, size_t *out)
{
	size_t r;
	if (__builtin_add_overflow(a, b, &r))
		return false;
	*out = r;
	return true;
}

static inline bool hth_mul_size(size_t a, size_t b, size_t *out)
{
	size_t r;
	if (__builtin_mul_overflow(a, b, &r))
		return false;
	*out = r;
	return true;
}

static inline bool hth_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t r;
	if (__builtin_add_overflow(a, b, &r))
		return false;
	*out = r;
	return true;
}

static inline bool hth_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t r;
	if (__builtin_mul_overflow(a, b, &r))
		return false;
	*out = r;
	return true;
}

/* Rounds n up to a multiple of `align` (a power of two). */
static inline bool hth_pad_u64(uint64_t n, uint64_t align, uint64_t *out)
{
	uint64_t r;
	if (align == 0 || (align & (align - 1)) != 0 || __builtin_add_overflow(n, align - 1, &r))
		return false;
	*out = r & ~(align - 1);
	return true;
}

/* A u64 from a file as a size_t of this machine. */
static inline bool hth_size_from_u64(uint64_t n, size_t *out)
{
	if (n > SIZE_MAX)
		return false;
	*out = (size_t)n;
	return true;
}

/* True when [offset, offset+bytes) lies inside [0, total); never overflows. */
static inline bool hth_range_inside(uint64_t offset, uint64_t bytes, uint64_t total)
{
	return offset <= total && bytes <= total - offset;
}

#endif
