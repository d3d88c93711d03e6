/* One-dimensional k-means of sorted rows: sums of the parts between thresholds, and the exact optimum by a dynamic
   programme with divide and conquer over a monotone matrix. */

#include <math.h>
#include <stdint.h>

/* Best last split for the first `mid` values, between `from` and `to`; writes the error and returns the split. */
static int64_t best(const double *before, const double *sum, const double *inverse, double total, int64_t mid,
                    int64_t from, int64_t to, double *error)
{
    double least = 1e300;
    for (int64_t i = from; i <= to; i++) {
        double part = total - sum[i];
        double value = before[i] - part * part * inverse[mid - i];
        least = value < least ? value : least;
    }
    *error = least;
    double bar = least + 1e-13 * fabs(least); /* the two loops may round differently */
    for (int64_t i = from; i <= to; i++) {
        double part = total - sum[i];
        if (before[i] - part * part * inverse[mid - i] <= bar) return i;
    }
    return from;
}

static void solve(const double *before, double *after, int32_t *split, const double *sum, const double *inverse,
                  int64_t low, int64_t high, int64_t from, int64_t to)
{
    while (low <= high) {
        int64_t mid = (low + high) / 2;
        int64_t last = to < mid - 1 ? to : mid - 1;
        int64_t at = best(before, sum, inverse, sum[mid], mid, from, last, &after[mid]);
        split[mid] = (int32_t)at;
        solve(before, after, split, sum, inverse, low, mid - 1, from, at);
        low = mid + 1;
        from = at;
    }
}

/* Errors are kept without the sum of squares, which no split changes: minus the sum of (cluster sum)^2 / count. */
void exact_bounds(const double *sums, const double *inverse, int64_t rows, int64_t n, int64_t k, double *work,
                  int32_t *split, int64_t *bounds)
{
    for (int64_t row = 0; row < rows; row++) {
        const double *sum = sums + row * (n + 1);
        double *before = work, *after = work + n + 1;
        for (int64_t i = 1; i <= n; i++) before[i] = -sum[i] * sum[i] * inverse[i];
        for (int64_t c = 1; c < k; c++) {
            solve(before, after, split + c * (n + 1), sum, inverse, c + 1, n, c, n - 1);
            double *swap = before;
            before = after;
            after = swap;
        }
        int64_t *own = bounds + row * (k + 1), end = n;
        for (int64_t c = k - 1; c >= 0; c--) {
            own[c + 1] = end;
            end = c ? split[c * (n + 1) + end] : 0;
        }
        own[0] = 0;
    }
}

/* Prefix sums of every row, 0 first. */
void prefix_sums(const float *values, int64_t rows, int64_t n, double *sums)
{
    for (int64_t row = 0; row < rows; row++) {
        double total = 0;
        *sums++ = 0;
        for (int64_t i = 0; i < n; i++) *sums++ = total += *values++;
    }
}

/* Where the k + 1 parts between k thresholds begin and end (k + 2 bounds), and the sums of their values. All thresholds
   of a row are searched side by side, without branches that a processor would have to guess. */
void part_sums(const float *ordered, const double *sums, const double *thresholds, int64_t rows, int64_t n, int64_t k,
               int64_t *bounds, double *totals)
{
    float wanted[k + 1];
    int32_t place[k + 1];
    for (int64_t row = 0; row < rows; row++) {
        const float *values = ordered + row * n;
        const double *sum = sums + row * (n + 1);
        int64_t *bound = bounds + row * (k + 2), left = n;
        for (int64_t c = 0; c < k; c++) {
            wanted[c] = (float)thresholds[row * k + c];
            place[c] = 0;
        }
        for (; left > 1; left -= left / 2) {
            int32_t half = (int32_t)(left / 2);
            for (int64_t c = 0; c < k; c++) place[c] += values[place[c] + half - 1] < wanted[c] ? half : 0;
        }
        bound[0] = 0;
        for (int64_t c = 0; c < k; c++) bound[c + 1] = place[c] + (values[place[c]] < wanted[c]);
        bound[k + 1] = n;
        for (int64_t c = 0; c <= k; c++) totals[row * (k + 1) + c] = sum[bound[c + 1]] - sum[bound[c]];
    }
}
