// Concurrent live migrations in SimGrid: reads hosts and migrations, prints when each one ended.
//
//   migrations INPUT > OUTPUT
//
// INPUT, text: "H L"; then L lines "rate_mbit_s latency_s" (directed lines); "P"; then P ways "source target K line1 ...
// lineK"; "M"; then M migrations "start_s source target memory_mib dirty_mib_s". OUTPUT: M lines "start_s end_s", in the
// order of the input, then "cpu_s SECONDS" for the simulation alone.
#include <simgrid/plugins/live_migration.h>
#include <simgrid/s4u.hpp>

#include <cstdio>
#include <ctime>
#include <fstream>
#include <string>
#include <vector>

namespace sg4 = simgrid::s4u;

struct Job {
  double start;
  int source, target;
  double memory_mib, dirty_mib_s;
  double began = 0.0, ended = 0.0;
};

constexpr double SPEED = 1e9;        // flop/s of a host
constexpr double MIB = 1048576.0;

int main(int argc, char** argv)
{
  sg4::Engine engine(&argc, argv);
  sg_vm_live_migration_plugin_init();
  std::ifstream in(argv[1]);
  int hosts, lines, ways, jobs;
  in >> hosts >> lines;
  auto* zone = sg4::create_full_zone("zone");
  std::vector<sg4::Host*> host(hosts);
  std::vector<sg4::Link*> line(lines);
  // Cores enough: no guest waits for a CPU.
  for (int h = 0; h < hosts; h++)
    host[h] = zone->create_host("h" + std::to_string(h), SPEED)->set_core_count(4096);
  for (int l = 0; l < lines; l++) {
    double rate, latency;
    in >> rate >> latency;
    line[l] = zone->create_link("l" + std::to_string(l), rate * 1e6 / 8)->set_latency(latency)->seal();
  }
  // Only the ways that are used: a full table of a thousand hosts would be a million of them.
  in >> ways;
  for (int w = 0; w < ways; w++) {
    int a, b, count;
    in >> a >> b >> count;
    std::vector<sg4::LinkInRoute> way;
    for (int k = 0; k < count; k++) {
      int l;
      in >> l;
      way.emplace_back(line[l]);
    }
    zone->add_route(host[a]->get_netpoint(), host[b]->get_netpoint(), nullptr, nullptr, way, false);
  }
  zone->seal();
  in >> jobs;
  std::vector<Job> job(jobs);
  for (auto& j : job)
    in >> j.start >> j.source >> j.target >> j.memory_mib >> j.dirty_mib_s;

  for (int n = 0; n < jobs; n++) {
    auto& j = job[n];
    sg4::Actor::create("m" + std::to_string(n), host[j.source], [&j, &host, n]() {
      sg4::this_actor::sleep_until(j.start);
      auto* vm = host[j.source]->create_vm("vm" + std::to_string(n), 1);
      vm->set_ramsize(static_cast<size_t>(j.memory_mib * MIB));
      vm->start();
      // Dirtying is a share of the migration speed for each flop: the speed is set so high that it caps nothing.
      constexpr double FAST = 1e12;
      sg_vm_set_migration_speed(vm, FAST);
      sg_vm_set_dirty_page_intensity(vm, j.dirty_mib_s * MIB / FAST);
      sg_vm_set_working_set_memory(vm, static_cast<sg_size_t>(0.9 * j.memory_mib * MIB));
      // Pages are dirtied by what an actor of the guest computes.
      if (j.dirty_mib_s > 0.0)
        sg4::Actor::create("load" + std::to_string(n), vm, []() { sg4::this_actor::execute(1e18); });
      sg4::this_actor::sleep_for(0.0);
      j.began = sg4::Engine::get_clock();
      sg_vm_migrate(vm, host[j.target]);
      j.ended = sg4::Engine::get_clock();
      vm->destroy();
    });
  }
  auto before = std::clock();
  engine.run();
  double cpu = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
  for (auto const& j : job)
    std::printf("%.9f %.9f\n", j.began, j.ended);
  std::printf("cpu_s %.6f\n", cpu);
}
