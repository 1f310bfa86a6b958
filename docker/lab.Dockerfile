# A lab's own recipes and builders on top of cotrain. In the lab's repository, which holds a package `lab_recipes`:
#   docker build --file lab.Dockerfile --tag lab --build-arg COMMIT="$(git rev-parse HEAD)" .
ARG COTRAIN=cotrain:latest
FROM ${COTRAIN}
USER 0
COPY . /opt/lab
# the constraints keep the packages that cotrain was tested with
RUN pip install --no-cache-dir --constraint /opt/cotrain/requirements.txt /opt/lab
USER 1000:1000
ARG COMMIT=unknown
ENV COTRAIN_BUILDERS=lab_recipes \
    COTRAIN_IMAGE=${COTRAIN_IMAGE}+lab@${COMMIT}
