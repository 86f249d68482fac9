// SPDX-License-Identifier: Apache-2.0
// The two recipes.
#include "control/ctl/vm_recipe.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "net/address.h"

namespace vmnat::ctl {
namespace {

std::string xml_attribute(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else if (c == '\'')
      escaped += "&apos;";
    else
      escaped += c;
  }
  return escaped;
}

// A comma within a value of QEMU's key=value lists is written twice.
std::string qemu_value(const std::string& text) {
  std::string doubled;
  for (const char c : text) doubled += c == ',' ? std::string{",,"} : std::string{c};
  return doubled;
}

}  // namespace

VmRecipe recipe_for(const Json& port, const std::string& mac) {
  const auto text = [&](const char* key) {
    return port.contains(key) && port[key].is_string() ? port[key].get<std::string>() : "";
  };
  const auto number = [&](const char* key, unsigned otherwise) {
    return port.contains(key) && port[key].is_number_integer() ? port[key].get<unsigned>() : otherwise;
  };
  VmRecipe recipe{.port = text("name"), .socket = text("socket"), .mac = mac.empty() ? text("mac") : mac};
  if (recipe.mac.empty()) recipe.mac = net::to_string(net::mac_made_from(recipe.port));
  recipe.qemu_listens = text("mode") != "server";
  recipe.queues = number("queues", 1);
  recipe.mtu = number("mtu", 1500);
  return recipe;
}

std::string qemu_arguments(const VmRecipe& recipe, const std::string& memory) {
  const std::string waits = recipe.qemu_listens ? ",server=on,wait=off" : ",reconnect=1";
  const std::string queues = recipe.queues > 1 ? fmt::format(",queues={}", recipe.queues) : "";
  // MSI-X vectors: two a queue pair, one for configuration, one for control.
  const std::string vectors =
      recipe.queues > 1 ? fmt::format(",mq=on,vectors={}", 2 * recipe.queues + 2) : "";
  const std::string mtu = recipe.mtu != 1500 ? fmt::format(",host_mtu={}", recipe.mtu) : "";
  const std::string id = "vmnat-" + recipe.port;
  const std::string shared_memory =
      memory == "none" ? ""
                       : fmt::format(
                             "-m {0}\n-object memory-backend-memfd,id=vmnat-memory,size={0},share=on\n"
                             "-numa node,memdev=vmnat-memory\n",
                             memory);
  return shared_memory + fmt::format(
                             "-chardev socket,id={0}-socket,path={1}{2}\n"
                             "-netdev vhost-user,id={0},chardev={0}-socket{3}\n"
                             "-device virtio-net-pci,netdev={0},mac={4}{5}{6}\n",
                             id, qemu_value(recipe.socket), waits, queues, recipe.mac, vectors, mtu);
}

std::string libvirt_xml(const VmRecipe& recipe) {
  const std::string reconnect =
      recipe.qemu_listens ? "/>" : ">\n    <reconnect enabled='yes' timeout='1'/>\n  </source>";
  const std::string queues = recipe.queues > 1 ? fmt::format("  <driver queues='{}'/>\n", recipe.queues) : "";
  const std::string mtu = recipe.mtu != 1500 ? fmt::format("  <mtu size='{}'/>\n", recipe.mtu) : "";
  return fmt::format(
      "<!-- in <domain>, once: guest memory must be shared with vmnatd -->\n"
      "<memoryBacking>\n  <source type='memfd'/>\n  <access mode='shared'/>\n</memoryBacking>\n"
      "<!-- in <devices> -->\n"
      "<interface type='vhostuser'>\n"
      "  <mac address='{}'/>\n"
      "  <source type='unix' path='{}' mode='{}'{}\n"
      "  <model type='virtio'/>\n{}{}"
      "</interface>\n",
      recipe.mac, xml_attribute(recipe.socket), recipe.qemu_listens ? "server" : "client", reconnect, queues,
      mtu);
}

}  // namespace vmnat::ctl
