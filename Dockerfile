# unmask with every plugin, on CPUs; on NVIDIA GPUs, too, where the host has its container toolkit (torch brings CUDA).
#
#   docker build -t unmask .
#   docker run --rm --gpus all -v ~/photos:/data/photos -v ~/runs:/runs unmask pretrain /data/photos --out /runs/photos
FROM python:3.12-slim
WORKDIR /opt/unmask
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt
COPY core core
COPY plugins plugins
RUN pip install --no-cache-dir --no-deps ./core ./plugins/*
RUN useradd --create-home user && mkdir /runs && chown user /runs
USER user
WORKDIR /runs
ENTRYPOINT ["unmask"]
CMD ["--help"]
