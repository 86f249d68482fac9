// SPDX-License-Identifier: Apache-2.0
// VhostSocket: a vhost-user socket, registered with librte_vhost, and the port behind it.
//
// librte_vhost has one thread for the messages of all sockets; it tells here when guests come, go, and enable
// rings, which becomes the state of the dataplane::VhostPort that workers poll.
#pragma once

#include <memory>
#include <string>

#include "control/config/model.h"
#include "control/result.h"
#include "dataplane/vhost_port.h"

namespace vmnat::control {

class VhostSocket {
 public:
  // `name` is for messages. In server mode the path must be free; in client mode librte_vhost connects, and
  // connects again, whenever somebody listens.
  static Result<std::unique_ptr<VhostSocket>> open(const std::string& name, const std::string& path,
                                                   config::VhostMode mode);
  VhostSocket(const VhostSocket&) = delete;
  VhostSocket& operator=(const VhostSocket&) = delete;
  ~VhostSocket();  // the guest is sent off; a socket that this listens on is removed

  dataplane::VhostPort& port() { return port_; }
  [[nodiscard]] const dataplane::VhostPort& port() const { return port_; }

 private:
  explicit VhostSocket(std::string path) : path_(std::move(path)) {}
  std::string path_;
  bool is_registered_ = false;
  dataplane::VhostPort port_;
};

}  // namespace vmnat::control
