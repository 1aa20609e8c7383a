// Fake quantization and the Walsh-Hadamard transform of rows of float32, as affine.py and hadamard.py
// do both with torch's operations: the same sums in the same order, so that the numbers are equal.
// Rows are read from the cache once or twice, where each of torch's operations writes them to memory.
//
// GCC (12 or newer) and clang have the vector types used here, on every processor.

#include <cstdint>
#include <cstring>
#include <vector>

// GCC makes one copy of each function for each kind of processor, and chooses when the file is loaded.
#if defined(__x86_64__) && !defined(__clang__)
#define EXPORT extern "C" __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define EXPORT extern "C"
#endif
#define INLINE static inline __attribute__((always_inline))

namespace {

constexpr int64_t LANES = 16;
using Lanes = float __attribute__((vector_size(4 * LANES)));
using Bits = int32_t __attribute__((vector_size(4 * LANES)));
using Unaligned = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

INLINE Lanes load(const float *from) { return *reinterpret_cast<const Unaligned *>(from); }
INLINE void store(float *to, Lanes values) { *reinterpret_cast<Unaligned *>(to) = values; }
INLINE Lanes lower(Lanes a, Lanes b) { return a < b ? a : b; }
INLINE Lanes upper(Lanes a, Lanes b) { return a > b ? a : b; }
INLINE Lanes all(float value) { return value - Lanes{}; }

// Rounds to nearest, halves to even: exact for magnitudes up to 2^22, where these have at most 2^8.
INLINE Lanes rounded(Lanes x) { return (x + 0x1.8p23f) - 0x1.8p23f; }

// `PICK(a, b, 8)` has lanes 0 to 7 of a and lanes 8 to 15 of b: those of a whose number lacks the bit
// 8, and those of b whose number has it. `PICK_PARTNERS(a, b, 8)` has the other lanes of both.
#define LANE(bit, lane, moved) ((((lane) & (bit)) ? LANES : 0) + ((lane) ^ (moved)))
#define FOUR(bit, lane, moved) \
  LANE(bit, lane, moved), LANE(bit, lane + 1, moved), LANE(bit, lane + 2, moved), LANE(bit, lane + 3, moved)
#define EACH(bit, moved) FOUR(bit, 0, moved), FOUR(bit, 4, moved), FOUR(bit, 8, moved), FOUR(bit, 12, moved)
#define PICK(a, b, bit) __builtin_shufflevector(a, b, EACH(bit, 0))
#define PICK_PARTNERS(a, b, bit) __builtin_shufflevector(a, b, EACH(bit, bit))

// Merges pairs of vectors: half of the lanes of a result are minima of one, half of the other.
template <int bit> INLINE void merge_lowest(Lanes *rows) {
  for (int row = 0; row < LANES; row++)
    if (!(row & bit) && row < 2 * bit)
      rows[row] = lower(PICK(rows[row], rows[row + bit], bit), PICK_PARTNERS(rows[row], rows[row + bit], bit));
}

// Returns the lowest number of each of 16 vectors: lane i is that of vector i.
INLINE Lanes lowest(Lanes *rows) {
  merge_lowest<8>(rows);
  merge_lowest<4>(rows);
  merge_lowest<2>(rows);
  merge_lowest<1>(rows);
  return rows[0];
}

INLINE bool any(Bits lanes) {
  int32_t found = 0;
  for (int64_t lane = 0; lane < LANES; lane++)
    found |= lanes[lane];
  return found != 0;
}

// A butterfly within a vector: sums where a bit of the lane is not set, differences where it is.
template <int bit> INLINE Lanes butterfly(Lanes x) {
  const Lanes partners = __builtin_shufflevector(x, x, EACH(0, bit)), zero = {};
  return partners + PICK(x, zero - x, bit);
}

} // namespace

// What a row of float32 is rounded to. `steps` divide the range, or its larger side where the grid is
// symmetric; then integers end at `highest`, which is negative for an asymmetric grid.
struct Grid {
  float steps, highest, least_scale, most_scale;
};

namespace {

// Rounds one row number by number, for scales that have to be clamped and numbers that are not finite:
// a row with such a number becomes NaN.
INLINE void quantize_unusual_row(const float *x, float *out, int64_t width, const Grid &grid) {
  float low = 0, high = 0, sum = 0;
  for (int64_t column = 0; column < width; column++) {
    low = x[column] < low ? x[column] : low;
    high = x[column] > high ? x[column] : high;
    sum += x[column] * 0; // NaN where a number is not finite
  }
  const bool symmetric = grid.highest >= 0;
  float scale = symmetric ? (-low > high ? -low : high) / grid.steps
                          : (high * 0.5f - low * 0.5f) / (grid.steps * 0.5f); // high - low may overflow
  scale = scale < grid.least_scale ? grid.least_scale : scale;
  scale = scale > grid.most_scale ? grid.most_scale : scale;
  const float zero = __builtin_rintf(low / scale);
  const float most = symmetric ? grid.highest : (zero < -grid.steps ? 0 : zero + grid.steps);
  for (int64_t column = 0; column < width; column++) {
    const float whole = __builtin_rintf(x[column] / scale);
    out[column] = (whole < most ? whole : most) * scale + sum;
  }
}

} // namespace

// Fake-quantizes each row of x (rows, width), width a multiple of 16, by its own range. `out` may be x.
EXPORT void fake_quantize_rows(const float *x, float *out, int64_t rows, int64_t width, Grid grid) {
  // Numbers are multiplied by 1 / scale, which is faster than to divide. The product is off by less
  // than `margin` from the quotient: where one is so near to a half, 16 rows are divided after all.
  const float margin = grid.steps * 0x1p-22f;
  const Bits magnitude = Bits{} + 0x7fffffff, near_half = (Bits)all(0.5f - margin);
  const float least_usual = grid.least_scale * 0x1p24f, most_usual = grid.most_scale * 0.5f;
  const bool symmetric = grid.highest >= 0;
  std::vector<float> kept(x == out ? LANES * width : 0);
  for (; rows > 0; rows -= LANES, x += LANES * width, out += LANES * width) {
    const int64_t count = rows < LANES ? rows : LANES;
    const float *from = kept.empty() ? x : kept.data();
    if (!kept.empty())
      std::memcpy(kept.data(), x, count * width * sizeof(float));
    Lanes smallest[LANES], negative[LANES];
    for (int64_t row = 0; row < LANES; row++) {
      Lanes least = {}, most = {};
      const float *numbers = from + (row < count ? row : 0) * width;
      for (int64_t column = 0; column < width; column += LANES) {
        least = lower(load(numbers + column), least);
        most = upper(load(numbers + column), most);
      }
      smallest[row] = least;
      negative[row] = -most;
    }
    const Lanes low = lowest(smallest), high = -lowest(negative);
    const Lanes scale = (symmetric ? upper(-low, high) : high - low) / grid.steps;
    const Lanes inverse = 1 / scale;
    const Lanes most = symmetric ? all(grid.highest) : rounded(low / scale) + grid.steps;
    bool unusual = any(!((scale >= least_usual) & (scale <= most_usual)));
    Bits furthest = {}; // as integers, magnitudes have the same order, and NaN is the largest
    for (int64_t row = 0; row < count && !unusual; row++)
      for (int64_t column = 0; column < width; column += LANES) {
        const Lanes quotient = load(from + row * width + column) * inverse[row];
        const Lanes whole = rounded(quotient);
        const Bits away = (Bits)(quotient - whole) & magnitude;
        furthest = away > furthest ? away : furthest;
        store(out + row * width + column, lower(whole, all(most[row])) * scale[row]);
      }
    unusual |= any(furthest > (Bits)all(0.5f));
    if (unusual)
      for (int64_t row = 0; row < count; row++)
        quantize_unusual_row(from + row * width, out + row * width, width, grid);
    else if (any(furthest > near_half))
      for (int64_t row = 0; row < count; row++)
        for (int64_t column = 0; column < width; column += LANES) {
          const Lanes whole = rounded(load(from + row * width + column) / scale[row]);
          store(out + row * width + column, lower(whole, all(most[row])) * scale[row]);
        }
  }
}

// Multiplies x (rows, width) by signs (width), then each block of `power` by Sylvester's matrix;
// `power` is at least 16 and divides width.
EXPORT void hadamard_rows(const float *x, const float *signs, float *out, int64_t rows, int64_t width,
                          int64_t power) {
  for (; rows > 0; rows--, x += width, out += width) {
    for (int64_t column = 0; column < width; column += LANES) {
      const Lanes values = load(x + column) * load(signs + column);
      store(out + column, butterfly<8>(butterfly<4>(butterfly<2>(butterfly<1>(values)))));
    }
    for (int64_t half = LANES; half < power; half *= 2)
      for (int64_t block = 0; block < width; block += 2 * half)
        for (int64_t column = block; column < block + half; column += LANES) {
          const Lanes left = load(out + column), right = load(out + column + half);
          store(out + column, left + right);
          store(out + column + half, left - right);
        }
  }
}

// What follows differs from torch's operations in the last bits: it is used only where asked for.

namespace {

INLINE float sum(Lanes x) {
  x += __builtin_shufflevector(x, x, EACH(0, 8));
  x += __builtin_shufflevector(x, x, EACH(0, 4));
  x += __builtin_shufflevector(x, x, EACH(0, 2));
  return x[0] + x[1];
}

// exp(x) for x from -87 to 87, within 2 units of the last place: 2^n times the Taylor polynomial of
// the rest, which is below ln(2) / 2 in magnitude. ln(2) is subtracted in two parts, the first of
// which has so few bits that n times it is exact (W. J. Cody and W. Waite, 1980).
INLINE Lanes exponential(Lanes x) {
  const Lanes n = rounded(x * 0x1.715476p0f);
  const Lanes rest = (x - n * 0x1.62ep-1f) - n * 0x1.0bfbe8p-15f;
  constexpr float factorials[] = {5040, 720, 120, 24, 6, 2, 1, 1};
  Lanes power = {};
  for (const float factorial : factorials)
    power = power * rest + 1 / factorial;
  return power * (Lanes)((__builtin_convertvector(n, Bits) + 127) << 23);
}

} // namespace

// GELU in its approximation by tanh, of `count` numbers, a multiple of 16: as 1 + tanh(y / 2) is
// 2 / (1 + exp(-y)), it is x / (1 + exp(-y)) with y = 2 sqrt(2 / pi) (x + 0.044715 x^3).
EXPORT void gelu_rows(const float *x, float *out, int64_t count) {
  for (int64_t at = 0; at < count; at += LANES) {
    const Lanes values = load(x + at);
    const Lanes y = values * (1.59576912f + 0.0713548163f * values * values);
    store(out + at, values / (1 + exponential(upper(lower(-y, all(87)), all(-87)))));
  }
}

// Normalises each row of x (images, tokens, width), then multiplies it by a scale and adds a shift;
// each image has its own, `stride` numbers behind those of the image before.
EXPORT void norm_rows(const float *x, const float *scale, const float *shift, float *out, int64_t images,
                      int64_t tokens, int64_t width, int64_t stride, float epsilon) {
  for (; images > 0; images--, scale += stride, shift += stride)
    for (int64_t token = 0; token < tokens; token++, x += width, out += width) {
      Lanes total = {}, squares = {};
      for (int64_t column = 0; column < width; column += LANES)
        total += load(x + column);
      const float mean = sum(total) / width;
      for (int64_t column = 0; column < width; column += LANES) {
        const Lanes centred = load(x + column) - mean;
        squares += centred * centred;
      }
      const float inverse = 1 / __builtin_sqrtf(sum(squares) / width + epsilon);
      for (int64_t column = 0; column < width; column += LANES) {
        const Lanes normal = (load(x + column) - mean) * inverse;
        store(out + column, normal * load(scale + column) + load(shift + column));
      }
    }
}

// Adds x (images, tokens, width), times the gate of each image, to `residual` of the same shape.
EXPORT void gated_rows(const float *x, const float *gate, const float *residual, float *out,
                       int64_t images, int64_t tokens, int64_t width, int64_t stride) {
  for (; images > 0; images--, gate += stride)
    for (int64_t token = 0; token < tokens; token++, x += width, residual += width, out += width)
      for (int64_t column = 0; column < width; column += LANES)
        store(out + column, load(residual + column) + load(gate + column) * load(x + column));
}
