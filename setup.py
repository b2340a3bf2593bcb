"""The compiled parts; everything else about the package is in pyproject.toml.

The batched UDP module is built along with every install; where there is no compiler, the install goes on without it.
"""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "edge_proxy.transport._batch",
            ["edge_proxy/transport/_batch.c"],
            extra_compile_args=["-Wall", "-Wextra", "-Wno-missing-field-initializers", "-Wno-cast-function-type"],
            optional=True,
        )
    ]
)
