// Contracts and invariants are in the header.

#include "places.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <mutex>
#include <new>
#include <unordered_map>
#include <utility>

#include "pages.h"

namespace offheap {
namespace {

// How much `mincore` is asked for at once.
constexpr size_t kLookBytes = size_t{256} << 20;
constexpr double kNobody = -1;

struct Place {
  char* end;
  uint64_t owner;
};

struct Owner {
  uint64_t thread;
  std::string name;
  size_t places = 0;
  bool is_open = true;
};

struct State {
  std::mutex lock;
  std::map<char*, Place> places;  // by start
  std::unordered_map<uint64_t, Owner> owners;
};

// Never destroyed: a thread may end after static destructors ran.
State& TheState() {
  static auto* const state = new State();
  return *state;
}

using Lock = std::lock_guard<std::mutex>;

// Forgets an owner that nobody can ask for any more.
void DropIfDone(State& s, std::unordered_map<uint64_t, Owner>::iterator at) {
  if (!at->second.is_open && at->second.places == 0) s.owners.erase(at);
}

void Count(State& s, uint64_t owner, bool is_more) {
  const auto at = s.owners.find(owner);
  if (at == s.owners.end()) return;
  if (is_more) ++at->second.places;
  else --at->second.places;
  DropIfDone(s, at);
}

double ResidentIn(char* start, char* end) {
  std::vector<unsigned char> residency(std::min(static_cast<size_t>(end - start), kLookBytes) / PageBytes());
  size_t pages = 0;
  for (char* from = start; from < end; from += kLookBytes) {
    const size_t length_bytes = std::min(static_cast<size_t>(end - from), kLookBytes);
    if (ResidentPages(from, length_bytes, residency.data()) != 0) continue;
    pages += std::count(residency.begin(), residency.begin() + static_cast<ptrdiff_t>(length_bytes / PageBytes()), 1);
  }
  return static_cast<double>(pages * PageBytes());
}

struct Piece {
  size_t index;
  double owner;
  Stretch stretch;
};

// Cuts one stretch at the borders of places. Adds nothing where no place is in it.
void Cut(const State& s, size_t index, const Stretch& stretch, std::vector<Piece>* pieces) {
  char* at = stretch.start;
  const size_t before = pieces->size();
  auto place = s.places.upper_bound(stretch.start);
  if (place != s.places.begin() && std::prev(place)->second.end > stretch.start) --place;
  for (; place != s.places.end() && place->first < stretch.end; ++place) {
    char* const start = std::max(place->first, stretch.start);
    char* const end = std::min(place->second.end, stretch.end);
    if (start > at) pieces->push_back({index, kNobody, {at, start}});
    pieces->push_back({index, static_cast<double>(place->second.owner), {start, end}});
    at = end;
  }
  if (pieces->size() > before && at < stretch.end) pieces->push_back({index, kNobody, {at, stretch.end}});
}

std::vector<Piece> PiecesOf(const std::vector<Stretch>& stretches) {
  std::vector<Piece> pieces;
  State& s = TheState();
  const Lock lock(s.lock);
  for (size_t i = 0; i < stretches.size(); ++i) Cut(s, i, stretches[i], &pieces);
  return pieces;
}

}  // namespace

void OpenOwner(uint64_t owner, uint64_t thread, std::string name) {
  State& s = TheState();
  const Lock lock(s.lock);
  s.owners.emplace(owner, Owner{thread, std::move(name)});
}

void CloseOwner(uint64_t owner) {
  State& s = TheState();
  const Lock lock(s.lock);
  const auto at = s.owners.find(owner);
  if (at == s.owners.end()) return;
  at->second.is_open = false;
  DropIfDone(s, at);
}

void CloseOwnersOf(uint64_t thread) {
  State& s = TheState();
  const Lock lock(s.lock);
  for (auto at = s.owners.begin(); at != s.owners.end();) {
    const auto owner = at++;
    if (owner->second.thread != thread) continue;
    owner->second.is_open = false;
    DropIfDone(s, owner);
  }
}

void SetPlace(char* start, size_t length_bytes, uint64_t owner) {
  State& s = TheState();
  const Lock lock(s.lock);
  try {
    const auto [at, is_new] = s.places.emplace(start, Place{start + length_bytes, owner});
    if (is_new) Count(s, owner, true);
    else at->second.end = start + length_bytes;
  } catch (const std::bad_alloc&) {
    // A report then knows less; the mapping is as good.
  }
}

uint64_t RemovePlace(char* start) {
  State& s = TheState();
  const Lock lock(s.lock);
  const auto at = s.places.find(start);
  if (at == s.places.end()) return kBooksOwner;
  const uint64_t owner = at->second.owner;
  s.places.erase(at);
  Count(s, owner, false);
  return owner;
}

std::string NameOf(uint64_t owner) {
  State& s = TheState();
  const Lock lock(s.lock);
  const auto at = s.owners.find(owner);
  return at == s.owners.end() ? std::string() : at->second.name;
}

std::vector<Part> PartsOf(const std::vector<Stretch>& stretches) {
  const std::vector<Piece> pieces = PiecesOf(stretches);
  std::vector<Part> parts;
  parts.reserve(pieces.size());
  for (const Piece& piece : pieces) {
    const Stretch& whole = stretches[piece.index];
    const bool is_all = piece.stretch.start == whole.start && piece.stretch.end == whole.end;
    const double resident_bytes = is_all ? kNobody : ResidentIn(piece.stretch.start, piece.stretch.end);
    const auto bytes = static_cast<size_t>(piece.stretch.end - piece.stretch.start);
    parts.push_back({piece.index, piece.owner, bytes, resident_bytes});
  }
  return parts;
}

std::vector<OwnerName> OwnersWithPlaces() {
  std::vector<OwnerName> found;
  State& s = TheState();
  const Lock lock(s.lock);
  for (const auto& [owner, data] : s.owners) {
    if (data.places > 0) found.push_back({owner, data.thread, data.name});
  }
  return found;
}

}  // namespace offheap
