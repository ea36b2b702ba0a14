/* SPDX-License-Identifier: Apache-2.0 */
/* What a calibrated model carries: JSON "calibration" and the tensor calib.scores. */
#ifndef CZ_API_CALIBRATION_H
#define CZ_API_CALIBRATION_H

#include "api/model.h"
#include "api/tiles.h"

struct cz_stored_calibration {
    cz_calibration known; /* its scores are those below */
    float *scores;        /* [known.count] ascending */
};

/* Reads model->meta and model->extra into model->calibration, everything checked; CZ_OK and NULL where there is none. */
cz_status cz_calibration_read(cz_model *model);
void cz_calibration_free(struct cz_stored_calibration *calibration);
/* A threshold belongs to how it was found: CZ_E_ARG where an image would be computed in another way. */
cz_status cz_calibration_check(const cz_model *model, const cz_prep *prep, cz_precision precision);

/* The same for tiles; width 0: none. */
cz_status cz_calibration_check_tiles(const cz_model *model, const cz_tiling *tiling);
/* Adds what cz_calibration_check_tiles looks for; nothing for whole images. Non-zero: out of memory. */
int cz_calibration_write_tiles(json_t *calibration, const cz_tiling *tiling);

#endif
