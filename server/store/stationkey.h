/* stationkey.h: the key that signs manifests stays the same, or its change is on record. */
#ifndef FLASHRACK_SERVER_STORE_STATIONKEY_H
#define FLASHRACK_SERVER_STORE_STATIONKEY_H

#include "server/store/store.h"
#include "usb/base/sign.h"

/* Opens DATA/station.key, which is made when there is none. Blocking, before the threads start and after the migrations.
 * ERR_INPUT: manifests were signed with another key, and config->new_station_key was not given. With it the change
 * becomes a row of the audit, signed with the new key. */
int stationkey_open(const struct store_config *config, struct signer **out, struct err *err);

#endif
