// SPDX-License-Identifier: Apache-2.0
// XdpInterface: what stands around a kernel interface that DPDK's net_af_xdp drives (`driver: xdp`).
//
// The driver moves the frames. Here it is found out beforehand whether it can, and said why not; and the
// interface is looked after as one that packet sockets drive (KernelInterface): brought up, put down again in
// the end, its carrier and MTU followed. Unlike there, one that goes does not come back before a restart: the
// driver's sockets stay bound to what is gone.
//
// XDP takes frames from single channels (queues) of an interface; what arrives by others goes to the kernel. So
// either all channels are polled, or the device is refused:
//
//   eth0 has 4 channels, `queues: auto`   4 queues
//   eth0 has 4 channels, `queues: 1`      refused: `ethtool -L eth0 combined 1`, or queues: 4
//   a veth, which has no channels         1 queue
#pragma once

#include <memory>
#include <string>

#include "control/devices/interface_link.h"
#include "control/result.h"
#include "control/system/file_descriptor.h"
#include "control/system/kernel_links.h"

struct rte_mempool;

namespace vmnat::control {

class XdpInterface {
 public:
  struct Settings {
    std::string name;       // for messages: "uplink", "port vm1"
    std::string interface;  // the kernel's name of it
    unsigned queues = 1;
    bool fewer_queues_will_do = false;  // and more: as many as it has channels
    bool is_promiscuous = false;
  };
  // The interface must be there. `links` outlives it.
  static Result<std::unique_ptr<XdpInterface>> open(Settings settings, const KernelLinks& links);
  ~XdpInterface();  // after the driver has let it go
  XdpInterface(const XdpInterface&) = delete;
  XdpInterface& operator=(const XdpInterface&) = delete;

  // What has the driver open it; `number` is that of no other device.
  [[nodiscard]] std::string devargs(unsigned number) const;
  [[nodiscard]] unsigned queues() const { return queues_; }
  // After `links` has followed the kernel.
  void follow();
  [[nodiscard]] bool is_up() const { return index_ == link_.index && link_.has_carrier; }
  [[nodiscard]] std::uint16_t mtu() const { return mtu_of(link_); }  // the interface's

 private:
  XdpInterface(Settings settings, const KernelLinks& links);
  Result<void> receive_for_others();

  Settings settings_;
  const KernelLinks& links_;
  KernelLink link_;  // as it was told of last; index 0: it is gone
  int index_ = 0;    // of the interface that the driver has opened
  unsigned queues_ = 1;
  bool was_down_ = false;  // before us
  FileDescriptor
      membership_;  // a packet socket that receives nothing: frames for other MACs arrive while it lives
};

// Why the driver cannot take its buffers from the pool; empty: it can.
std::string xdp_refusal_of_pool(const rte_mempool& pool);
// Why an interface of so many channels cannot be polled as is wanted; empty: it can.
std::string xdp_refusal_of_queues(unsigned channels, const XdpInterface::Settings& wanted);
// Why there is no AF_XDP at all; empty: there is. `driver` is DPDK's name of it.
std::string xdp_refusal_of_machine(const std::string& driver = "net_af_xdp");

}  // namespace vmnat::control
