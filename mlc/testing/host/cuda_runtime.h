// What programs include for CUDA's own names, which are there without it.
#pragma once
