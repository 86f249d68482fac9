// SPDX-License-Identifier: Apache-2.0
// Who may use the VMs' vhost-user sockets: owner, group and mode of a socket, and of the directory of all of them.
//
// libvirt's QEMU is the user libvirt-qemu, in the group kvm. By default it may connect to sockets of ours (0660), and
// make its own in the directory (0770):
//
//   drwxrwx--T root kvm            /run/vmnat
//   srw-rw---- root kvm            /run/vmnat/vm1.sock     mode: server, made by vmnatd
//   srwxr-xr-x libvirt-qemu kvm    /run/vmnat/vm2.sock     mode: client, made by QEMU
//   srw-rw---- root root           /run/vmnat/vmnat.sock   the admin socket
//
// A guest may have taken over its VMM. So a directory that a group may write to is sticky: what is root's, such as the
// admin socket and sockets of ours, nobody else removes, replaces or renames. VMMs of one user are not defended
// against each other.
#pragma once

#include <string>

#include "control/config/model.h"
#include "control/result.h"

namespace vmnat::control {

// Makes the directory of a socket. From `wanted.directory` down it gets the rights; elsewhere it is as umask has it. A
// directory of somebody else's stays as it is, and the log says so. `subject` is for messages.
Result<void> make_socket_directory(const std::string& subject, const std::string& socket,
                                   const config::VhostUser& wanted);

// Gives a socket that this process listens on its owner, group and mode: all of `access` is given. The log says what
// cannot be.
void grant_socket(const std::string& subject, const std::string& socket, const config::SocketAccess& access);

// Why a VMM in that group could not use the socket: a directory on the way, or in client mode the one that it has to
// make it in. Empty: it can, or the group is root's, and VMMs are root's.
std::string obstacle_for_vmm(const std::string& socket, config::VhostMode mode, const std::string& group);

}  // namespace vmnat::control
