// SPDX-License-Identifier: Apache-2.0
// Translations as IPFIX records (RFC 7011) with the information elements of RFC 8158, by UDP: NAT44 session create and
// delete (section 5.8), port block allocation and de-allocation (section 5.13). libfixbuf makes the messages. Templates are
// sent anew every 30 s, for a collector that has begun to listen since (RFC 7011 section 8.4).
#include <array>
#include <ctime>
#include <fixbuf/public.h>
#include <fmt/format.h>
#include <utility>

#include "control/translations/datagrams.h"
#include "control/translations/sink.h"

namespace vmnat::control {
namespace {

constexpr std::uint16_t kMessageBytes = 1400;  // of one datagram on any Ethernet
constexpr std::uint16_t kSessionTemplate = 256, kBlockTemplate = 257;
constexpr std::time_t kTemplatePause = 30;  // seconds

// natEvent (230), as IANA lists them.
constexpr std::uint8_t kSessionCreate = 4, kSessionDelete = 5, kBlockAllocation = 16, kBlockDeallocation = 17;

// In the order of their templates, without holes; numbers in the host's order.
struct [[gnu::packed]] SessionRecord {
  std::uint64_t milliseconds;
  std::uint32_t internal, external, remote;
  std::uint16_t internal_port, external_port, remote_port;
  std::uint8_t protocol, event;
};
struct [[gnu::packed]] BlockRecord {
  std::uint64_t milliseconds;
  std::uint32_t internal, external;
  std::uint16_t first_port, last_port;
  std::uint8_t event;
};

// fixbuf wants names that it could write to.
char kTime[] = "observationTimeMilliseconds", kInternal[] = "sourceIPv4Address",
     kExternal[] = "postNATSourceIPv4Address", kRemote[] = "destinationIPv4Address",
     kInternalPort[] = "sourceTransportPort", kExternalPort[] = "postNAPTSourceTransportPort",
     kRemotePort[] = "destinationTransportPort", kProtocol[] = "protocolIdentifier", kEvent[] = "natEvent",
     kFirstPort[] = "portRangeStart", kLastPort[] = "portRangeEnd";
fbInfoElementSpec_t kSessionElements[] = {
    {kTime, 8, 0},         {kInternal, 4, 0},   {kExternal, 4, 0}, {kRemote, 4, 0}, {kInternalPort, 2, 0},
    {kExternalPort, 2, 0}, {kRemotePort, 2, 0}, {kProtocol, 1, 0}, {kEvent, 1, 0},  {nullptr, 0, 0}};
fbInfoElementSpec_t kBlockElements[] = {{kTime, 8, 0},      {kInternal, 4, 0}, {kExternal, 4, 0},
                                        {kFirstPort, 2, 0}, {kLastPort, 2, 0}, {kEvent, 1, 0},
                                        {nullptr, 0, 0}};

class IpfixExporter final : public Sink {
 public:
  IpfixExporter(const std::string& host, const std::string& port)
      : datagrams_(host, port),
        model_(fbInfoModelAlloc()),
        session_(fbSessionAlloc(model_.get())),
        exporter_(fbExporterAllocBuffer(message_.data(), kMessageBytes)),
        has_templates_(add_template(kSessionTemplate, kSessionElements) &&
                       add_template(kBlockTemplate, kBlockElements)),
        buffer_(fBufAllocForExport(session_, exporter_)) {
    fBufSetAutomaticMode(buffer_.get(), FALSE);
    datagrams_.connect();
  }

  void write(const Translation& translation) override {
    const auto event = event_of(translation);
    if (event == 0) return;
    const auto& session = translation.session;
    const auto since_1970 = translation.time.time_since_epoch();
    const auto milliseconds =
        static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(since_1970).count());
    if (translation.block_ports == 0) {
      append(kSessionTemplate, SessionRecord{.milliseconds = milliseconds,
                                             .internal = session.internal.address.host(),
                                             .external = session.external.address.host(),
                                             .remote = session.remote.address.host(),
                                             .internal_port = session.internal.port.host(),
                                             .external_port = session.external.port.host(),
                                             .remote_port = session.remote.port.host(),
                                             .protocol = static_cast<std::uint8_t>(session.protocol),
                                             .event = event});
    } else {
      const std::uint16_t first = session.external.port.host();
      append(kBlockTemplate,
             BlockRecord{.milliseconds = milliseconds,
                         .internal = session.internal.address.host(),
                         .external = session.external.address.host(),
                         .first_port = first,
                         .last_port = static_cast<std::uint16_t>(first + translation.block_ports - 1),
                         .event = event});
    }
  }

  std::uint64_t flush() override {
    emit();
    return std::exchange(unwritten_, 0);
  }
  void look_again() override { datagrams_.connect(); }
  [[nodiscard]] const std::string& problem() const override {
    return problem_.empty() ? datagrams_.problem() : problem_;
  }

 private:
  template <auto free>
  struct Free {
    void operator()(auto* object) const { free(object); }
  };

  static std::uint8_t event_of(const Translation& translation) {
    switch (translation.event) {
      case TranslationEvent::Created:
        return kSessionCreate;
      case TranslationEvent::Ended:
        return kSessionDelete;
      case TranslationEvent::BlockGiven:
        return kBlockAllocation;
      case TranslationEvent::BlockReturned:
        return kBlockDeallocation;
      default:
        return 0;  // RFC 8158 has no word for it
    }
  }

  // Within the session as one of our own records and as one of the message's: they are the same.
  bool add_template(std::uint16_t id, fbInfoElementSpec_t* elements) {
    GError* error = nullptr;
    for (const bool is_internal : {true, false}) {
      fbTemplate_t* made = fbTemplateAlloc(model_.get());
      if (fbTemplateAppendSpecArray(made, elements, UINT32_MAX, &error) == FALSE) return fails(error);
      if (fbSessionAddTemplate(session_, static_cast<gboolean>(is_internal), id, made, &error) == 0)
        return fails(error);
    }
    return true;
  }

  // A record that cannot be written is counted as one that was not sent.
  template <typename Record>
  void append(std::uint16_t id, Record record) {
    const bool is_put = has_templates_ && renew_templates() && put([&](GError** error) {
                          auto* bytes = static_cast<std::uint8_t*>(static_cast<void*>(&record));
                          return fBufSetInternalTemplate(buffer_.get(), id, error) != FALSE &&
                                 fBufSetExportTemplate(buffer_.get(), id, error) != FALSE &&
                                 fBufAppend(buffer_.get(), bytes, sizeof record, error) != FALSE;
                        });
    ++(is_put ? waiting_ : unwritten_);
  }

  // In a message of their own.
  bool renew_templates() {
    const std::time_t now = std::time(nullptr);
    if (now - templates_sent_ < kTemplatePause) return true;
    emit();
    if (!put([&](GError** error) { return fbSessionExportTemplates(session_, error) != FALSE; }))
      return false;
    templates_sent_ = now;
    has_new_templates_ = true;
    emit();
    return true;
  }

  // Into the message, or into the next one: fixbuf says so when it wants another, for room or for templates.
  template <typename Append>
  bool put(Append append) {
    GError* error = nullptr;
    if (append(&error)) return true;
    if (g_error_matches(error, FB_ERROR_DOMAIN, FB_ERROR_EOM) == FALSE) return fails(error);
    g_clear_error(&error);
    emit();
    return append(&error) || fails(error);
  }

  // What the message has.
  void emit() {
    const std::uint64_t records = std::exchange(waiting_, 0);
    if (!std::exchange(has_new_templates_, false) && records == 0) return;
    GError* error = nullptr;
    if (fBufEmit(buffer_.get(), &error) == FALSE) {
      fails(error);
    } else if (datagrams_.send(message_.data(), fbExporterGetMsgLen(exporter_))) {
      problem_.clear();
      return;
    }
    unwritten_ += records;
  }

  bool fails(GError* error) {
    problem_ = fmt::format("IPFIX: {}", error != nullptr ? error->message : "libfixbuf failed");
    g_clear_error(&error);
    return false;
  }

  std::string problem_;
  Datagrams datagrams_;
  std::array<std::uint8_t, kMessageBytes> message_{};
  std::unique_ptr<fbInfoModel_t, Free<fbInfoModelFree>> model_;
  fbSession_t* session_;
  fbExporter_t* exporter_;
  bool has_templates_;
  std::unique_ptr<fBuf_t, Free<fBufFree>> buffer_;  // owns session and exporter
  std::time_t templates_sent_ = 0;
  bool has_new_templates_ = false;             // the message
  std::uint64_t waiting_ = 0, unwritten_ = 0;  // records
};

}  // namespace

std::unique_ptr<Sink> make_ipfix_exporter(const std::string& host, const std::string& port) {
  return std::make_unique<IpfixExporter>(host, port);
}

}  // namespace vmnat::control
