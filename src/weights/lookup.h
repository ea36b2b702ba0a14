/* SPDX-License-Identifier: Apache-2.0 */
/* From a backbone's name to a file. */
#ifndef CZ_WEIGHTS_LOOKUP_H
#define CZ_WEIGHTS_LOOKUP_H

#include "util/status.h"

#define CZ_WEIGHTS_FOLDERS 3

/* Folders in the order they are searched: $COZAD_HOME, $XDG_CACHE_HOME/cozad (else ~/.cache/cozad), the installed share
 * folder; without repeats. folders: [CZ_WEIGHTS_FOLDERS], filled up with NULL. */
cz_status cz_weights_folders(char **folders);
void cz_weights_folders_free(char **folders);
/* `name` is a file, or a name looked up in the folders as NAME.safetensors, NAME.pth, torchvision's file names for it and
 * NAME itself. CZ_E_WEIGHTS says where it looked and how to get the file. *path: cz_free. */
cz_status cz_weights_lookup(const char *name, char **path);

#endif
