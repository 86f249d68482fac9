// SPDX-License-Identifier: Apache-2.0
#include "dataplane/pipeline.h"

#include "dataplane/deliver.h"
#include "dataplane/look_up.h"
#include "dataplane/parse.h"
#include "dataplane/switch.h"
#include "dataplane/translate.h"

namespace vmnat::dataplane {

void run_outbound(Context& context, Burst& burst) {
  parse<Direction::Outbound>(burst);
  switch_inside(context, burst);
  steer<Direction::Outbound>(context, burst);
  look_up<Direction::Outbound>(context, burst);
  translate<Direction::Outbound>(context, burst);
  deliver_outbound(context, burst);
}

void run_inbound(Context& context, Burst& burst) {
  parse<Direction::Inbound>(burst);
  accept_uplink(context, burst);
  steer<Direction::Inbound>(context, burst);
  look_up<Direction::Inbound>(context, burst);
  translate<Direction::Inbound>(context, burst);
  deliver_inbound(context, burst);
}

void resume_outbound(Context& context, Burst& burst) {
  parse<Direction::Outbound>(burst);
  look_up<Direction::Outbound>(context, burst);
  translate<Direction::Outbound>(context, burst);
  deliver_outbound(context, burst);
}

void resume_inbound(Context& context, Burst& burst) {
  parse<Direction::Inbound>(burst);
  look_up<Direction::Inbound>(context, burst);
  translate<Direction::Inbound>(context, burst);
  deliver_inbound(context, burst);
}

}  // namespace vmnat::dataplane
