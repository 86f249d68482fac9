// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <future>

namespace vmnat {

// Does the work on the thread that runs the context, and waits for it.
template <typename Work>
void on_thread_of(boost::asio::io_context& context, Work work) {
  std::promise<void> done;
  boost::asio::post(context, [&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

}  // namespace vmnat
