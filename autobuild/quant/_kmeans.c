/* Exact one-dimensional k-means of sorted rows: dynamic programme with divide and conquer over a monotone matrix. */

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
