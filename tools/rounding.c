/* Gradient of the kernels of a model of Tables III and IV; see rounding.py. Compiled with REAL=float or REAL=double.

   A sum adds its products one by one in the order of the loops, and each product and its addition are rounded once
   (-ffp-contract=fast -march=native): these are the sums of oneDNN. */
#include <math.h>
#include <string.h>

enum { SIDE = 28, LANES = 8, LARGEST = 6, WIDTH = SIDE + LARGEST - 1, STRIDE = WIDTH + LANES };

typedef REAL lanes __attribute__((vector_size(LANES * sizeof(REAL)))); /* a row of a kernel, with unused samples */
typedef REAL image[SIDE][SIDE];
typedef REAL padded[WIDTH][STRIDE]; /* zero around an image */

static void pad(const image from, padded to, int before) {
    for (int row = 0; row < SIDE; row++)
        memcpy(&to[row + before][before], from[row], sizeof from[row]);
}

/* Correlate with a kernel, or with its mirror image, whose samples are added in the same order. */
static inline __attribute__((always_inline)) void correlate(
    const padded from, const REAL *kernel, int size, int is_mirrored, image out) {
    for (int row = 0; row < SIDE; row++) {
        REAL sums[SIDE] = {0};
        for (int down = 0; down < size; down++)
            for (int right = 0; right < size; right++) {
                const REAL *source = is_mirrored ? &from[row + size - 1 - down][size - 1 - right]
                                                 : &from[row + down][right];
                for (int column = 0; column < SIDE; column++)
                    sums[column] = FMA(source[column], kernel[down * size + right], sums[column]);
            }
        memcpy(out[row], sums, sizeof sums);
    }
}

/* Add the windows of an image, each times the amount at its position. */
static inline __attribute__((always_inline)) void weigh(
    const padded windows, const image amounts, int size, lanes sums[LARGEST]) {
    lanes own[LARGEST], window;
    memcpy(own, sums, size * sizeof(lanes));
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++)
            for (int down = 0; down < size; down++) {
                memcpy(&window, &windows[row + down][column], sizeof window);
                own[down] += window * amounts[row][column];
            }
    memcpy(sums, own, size * sizeof(lanes));
}

/* Set amounts to zero where maps are not positive. */
static void clip(const image maps, image amounts) {
    for (int row = 0; row < SIDE; row++)
        for (int column = 0; column < SIDE; column++)
            amounts[row][column] = maps[row][column] > 0 ? amounts[row][column] : 0;
}

static inline __attribute__((always_inline)) void add_gradients(
    const image *x, int count, const REAL *kernels, int size, int is_relu, int parts, REAL *gradient) {
    padded examples = {{0}}, signs = {{0}}, windows[2] = {{{0}}};
    image maps[2], placed[2], sign, by_maps[2];
    lanes sums[4][LARGEST] = {{{0}}};
    REAL totals[4][LARGEST * LARGEST] = {{0}}, unit = (REAL)1 / (count * SIDE * SIDE);
    int area = size * size, before = (size - 1) / 2, part = 0, end = count / parts + (count % parts > 0);
    for (int example = 0; example < count; example++) {
        pad(x[example], examples, before);
        for (int kernel = 0; kernel < 2; kernel++) {
            correlate(examples, kernels + kernel * area, size, 0, maps[kernel]);
            if (is_relu)
                clip(maps[kernel], maps[kernel]);
            pad(maps[kernel], windows[kernel], before);
            correlate(windows[kernel], kernels + kernel * area, size, 0, placed[kernel]);
        }
        for (int row = 0; row < SIDE; row++)
            for (int column = 0; column < SIDE; column++) {
                REAL error = placed[0][row][column] + placed[1][row][column] - x[example][row][column];
                sign[row][column] = unit * ((error > 0) - (error < 0));
            }
        pad(sign, signs, size - 1 - before);
        for (int kernel = 0; kernel < 2; kernel++) {
            correlate(signs, kernels + kernel * area, size, 1, by_maps[kernel]);
            if (is_relu)
                clip(maps[kernel], by_maps[kernel]);
            weigh(windows[kernel], sign, size, sums[2 * kernel]);
            weigh(examples, by_maps[kernel], size, sums[2 * kernel + 1]);
        }
        if (example + 1 < end)
            continue;
        for (int sum = 0; sum < 4; sum++)
            for (int sample = 0; sample < area; sample++)
                totals[sum][sample] += sums[sum][sample / size][sample % size];
        memset(sums, 0, sizeof sums);
        part++;
        end += count / parts + (part < count % parts);
    }
    for (int kernel = 0; kernel < 2; kernel++)
        for (int sample = 0; sample < area; sample++)
            gradient[kernel * area + sample] = totals[2 * kernel][sample] + totals[2 * kernel + 1][sample];
}

/* Write the gradient of the mean absolute error of a batch with respect to two kernels.

   x: the examples, [count, 28, 28]; kernels and gradient: [2, size, size]; parts: parts of the batch, of consecutive
   examples, whose sums are added at the end, at most count. */
void gradient(const REAL *x, int count, const REAL *kernels, int size, int is_relu, int parts, REAL *gradient) {
    const image *examples = (const image *)x;
    switch (size) { /* each size is compiled alone, which takes a fifth of the time */
    case 1: add_gradients(examples, count, kernels, 1, is_relu, parts, gradient); break;
    case 2: add_gradients(examples, count, kernels, 2, is_relu, parts, gradient); break;
    case 3: add_gradients(examples, count, kernels, 3, is_relu, parts, gradient); break;
    case 4: add_gradients(examples, count, kernels, 4, is_relu, parts, gradient); break;
    case 5: add_gradients(examples, count, kernels, 5, is_relu, parts, gradient); break;
    case 6: add_gradients(examples, count, kernels, 6, is_relu, parts, gradient); break;
    }
}
