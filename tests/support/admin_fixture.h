// SPDX-License-Identifier: Apache-2.0
// An admin server that runs in a thread while the test talks to it.
#pragma once

#include <boost/asio/io_context.hpp>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "control/admin/server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/thread_of.h"

namespace vmnat::admin {

// The server lives on the thread of its io_context, as in vmnatd.
class RunningServer {
 public:
  explicit RunningServer(const std::string& path, ServerLimits limits = {}, AccessRules rules = {}) {
    auto made = Server::listen(context_, path, std::move(rules), limits);
    if (!made) throw std::runtime_error(to_string(made.error()));
    server_ = *std::move(made);
    thread_ = std::thread([this] { context_.run(); });
  }
  RunningServer(const RunningServer&) = delete;
  RunningServer& operator=(const RunningServer&) = delete;
  ~RunningServer() {
    on_its_thread([this] { server_.reset(); });
    context_.stop();
    thread_.join();
  }
  void answer(const std::string& command, Handler handler, Access needed = Access::Look) {
    on_its_thread([&] { server_->answer(command, needed, std::move(handler)); });
  }
  std::size_t clients() {
    std::size_t count = 0;
    on_its_thread([&] { count = server_->clients(); });
    return count;
  }

 private:
  template <typename Work>
  void on_its_thread(Work work) {
    on_thread_of(context_, work);
  }

  boost::asio::io_context context_;
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

}  // namespace vmnat::admin
