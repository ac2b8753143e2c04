// The sums of ledger.h. Contracts are in the header.

#include "ledger.h"

#include <atomic>
#include <cmath>

namespace offheap {
namespace {

std::atomic<double> g_limit_bytes{HUGE_VAL};
std::atomic<double> g_taken_bytes{0};

}  // namespace

double LimitBytes() { return g_limit_bytes.load(); }

void SetLimitBytes(double bytes) { g_limit_bytes.store(bytes); }

double TakenBytes() { return g_taken_bytes.load(); }

bool TakeBytes(double bytes) {
  double taken = g_taken_bytes.load();
  do {
    if (taken + bytes > g_limit_bytes.load()) return false;
  } while (!g_taken_bytes.compare_exchange_weak(taken, taken + bytes));
  return true;
}

void GiveBytes(double bytes) {
  double taken = g_taken_bytes.load();
  while (!g_taken_bytes.compare_exchange_weak(taken, taken - bytes)) {
  }
}

}  // namespace offheap
