/* SPDX-License-Identifier: Apache-2.0 */
/* What the protocol says of the server and its models. */
#include "oip.h"

json_t *sv_oip_server(void)
{
    return json_pack("{s:s, s:s, s:[s, s]}", "name", "cozad", "version", cz_version(), "extensions",
                     "binary_tensor_data", "model_repository");
}

json_t *sv_oip_model(const sv_model *model, size_t max_batch)
{
    static const struct {
        const char *name, *type;
    } outputs[] = {
        {"score", "FP64"}, {"p_value", "FP64"}, {"decision", "INT32"}, {"map", "FP32"}, {"regions", "BYTES"}};
    json_t *list = json_array();
    for (size_t i = 0; i < sizeof outputs / sizeof *outputs; i++) {
        const bool map = outputs[i].type[0] == 'F' && outputs[i].type[2] == '3';
        json_t *shape = map ? json_pack("[i, i, i]", -1, -1, -1) : json_pack("[i]", -1);
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s, s:o}", "name", outputs[i].name, "datatype", outputs[i].type, "shape", shape));
    }
    return json_pack("{s:s, s:[s], s:s, s:[{s:s, s:s, s:[i, i, i, i]}], s:o, s:{s:I, s:b, s:b}}", "name", model->name,
                     "versions", model->version, "platform", "cozad", "inputs", "name", "image", "datatype", "UINT8",
                     "shape", -1, -1, -1, 3, "outputs", list, "parameters", "max_batch_size", (json_int_t)max_batch,
                     "encoded_images", 1, "calibrated", model->calibrated ? 1 : 0);
}
